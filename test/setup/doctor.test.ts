import { describe, expect, test } from 'vitest';
import { findGpus } from '../../src/runtime/gpu.js';
import { gpuWarnings } from '../../src/setup/doctor.js';
import { sda } from '../support/cli.js';
import { type FakeGpu, withNvidiaSmi } from '../support/fake-gpu.js';

const L4: FakeGpu = { name: 'NVIDIA L4', capability: '8.9', total: 23034, free: 22000 };
const ALL = ['SdaStep', 'SdaSample'];

async function warnings(
  gpus: readonly FakeGpu[],
  found: { build: boolean | null; sees: boolean; gpuOperations?: string[]; gpuProblem?: string },
) {
  const env = gpus.length > 0 ? withNvidiaSmi(gpus) : { PATH: '', CUDA_VISIBLE_DEVICES: '' };
  const { build, sees, gpuOperations = ALL, gpuProblem = '' } = found;
  return await gpuWarnings({
    env,
    gpu: await findGpus({ env }),
    runtime: { gpu: build },
    probe: { gpu: sees },
    kernels: { operations: ALL, gpuOperations, gpuProblem },
  });
}

describe('what the doctor says of a GPU', () => {
  test('is nothing where all of it works, and where there is none', async () => {
    expect(await warnings([L4], { build: true, sees: true })).toEqual([]);
    expect(await warnings([], { build: false, sees: false })).toEqual([]);
  });

  test('is how to use it where the CPU build is set up', async () => {
    expect(await warnings([L4], { build: false, sees: false })).toEqual([
      'NVIDIA L4 is visible, but the CPU build of TensorFlow is set up: run "npx sda setup --gpu".',
    ]);
  });

  test('is what TensorFlow needs where it does not see it', async () => {
    const [warning] = await warnings([L4], { build: true, sees: false });
    expect(warning).toMatch(/although NVIDIA L4 with driver 570\.86\.15 is visible: CUDA 12 needs/);
  });

  test.each([
    [[], '', /built for the CPU alone; a CUDA compiler \(nvcc\)/],
    [['SdaStep'], '', /no form for the GPU of SdaSample/],
    [ALL, 'CUDA driver version is insufficient', /do not run on this GPU \(CUDA driver version/],
  ])('is which kernels do not run on it: %j %s', async (gpuOperations, gpuProblem, expected) => {
    const found = { build: true, sees: true, gpuOperations, gpuProblem };
    const [warning] = await warnings([L4], found);
    expect(warning).toMatch(expected);
  });

  test('is that it is too old, or one of several', async () => {
    const old = { name: 'Tesla M60', capability: '5.2' };
    const found = await warnings([old, L4], { build: true, sees: true });
    expect(found).toHaveLength(2);
    expect(found[0]).toMatch(/Tesla M60 has compute capability 5\.2.*CUDA_VISIBLE_DEVICES=""/);
    expect(found[1]).toMatch(/2 GPUs are visible and the first is used/);
  });
});

describe('sda doctor', { timeout: 30_000 }, () => {
  const environment = (gpus: readonly FakeGpu[]) => ({
    PATH: `${withNvidiaSmi(gpus).PATH}:${process.env.PATH}`,
  });

  test('shows a GPU with compute capability, memory, driver and CUDA version', async () => {
    const { stdout } = await sda(['doctor'], { env: environment([L4]) });
    expect(stdout).toMatch(
      /^GPU +NVIDIA L4, compute capability 8\.9, 24\.2 GB, 23\.1 GB free\nGPU driver +570\.86\.15, runs CUDA 12\.8$/m,
    );
    expect(stdout).toMatch(/^kernels +native/m);
  });

  test('says in one line that there is none', async () => {
    const hidden = { ...environment([L4]), CUDA_VISIBLE_DEVICES: '' };
    const { stdout } = await sda(['doctor'], { env: hidden });
    expect(stdout.match(/^GPU.*/gm)).toEqual([
      expect.stringMatching(/^GPU +none visible \(hidden by CUDA_VISIBLE_DEVICES=""\)$/),
    ]);
  });

  test('--json holds the same', async () => {
    const { stdout } = await sda(['doctor', '--json'], { env: environment([L4]) });
    const report = JSON.parse(stdout);
    expect(report.gpu).toMatchObject({
      gpus: [{ name: 'NVIDIA L4', computeCapability: '8.9', memory: 23034 * 2 ** 20 }],
      driver: '570.86.15',
      cuda: '12.8',
    });
    expect(report.kernels).toMatchObject({ gpuOperations: expect.any(Array) });
  });
});

test('the doctor says that the cache cannot be written', async () => {
  const report = await sda(['doctor'], {
    env: { ...process.env, SDA_CACHE_DIR: '/dev/null/cache' },
  });
  expect(report.code).toBe(1);
  expect(report.stdout).toContain(
    'The folder /dev/null/cache cannot be written (ENOTDIR: /dev/null is no folder): make it writable, or set SDA_CACHE_DIR to a folder that is.',
  );
});
