import { describe, expect, test } from 'vitest';
import { findGpus, gpuEnvironment } from '../../src/runtime/gpu.js';
import { gpuFallback } from '../../src/runtime/tensorflow.js';
import { folderOf, withNvidiaSmi } from '../support/fake-gpu.js';

const H100 = { name: 'NVIDIA H100 80GB HBM3' };
const T4 = { name: 'Tesla T4', capability: '7.5', total: 15360, free: 15000 };
const nowhere = { root: '/nonexistent' };

const names = async (env: NodeJS.ProcessEnv) =>
  (await findGpus({ env, ...nowhere })).gpus.map(({ name }) => name);

describe('nvidia-smi', () => {
  test('tells name, compute capability, memory in bytes, driver and CUDA version', async () => {
    expect(await findGpus({ env: withNvidiaSmi([H100]), ...nowhere })).toEqual({
      gpus: [
        {
          name: 'NVIDIA H100 80GB HBM3',
          computeCapability: '9.0',
          memory: 81559 * 2 ** 20,
          freeMemory: 80000 * 2 ** 20,
        },
      ],
      driver: '570.86.15',
      cuda: '12.8',
      reason: '',
    });
  });

  test('of an old driver, which knows no compute_cap, is asked again without', async () => {
    const { gpus, driver } = await findGpus({ env: withNvidiaSmi([T4], { old: true }) });
    expect(gpus).toMatchObject([{ name: 'Tesla T4', computeCapability: null }]);
    expect([gpus[0]?.memory, driver]).toEqual([15360 * 2 ** 20, '570.86.15']);
  });

  test('that tells no memory leaves it open', async () => {
    const spark = { name: 'NVIDIA GB10', total: '[N/A]', free: '[N/A]' };
    const { gpus } = await findGpus({ env: withNvidiaSmi([spark]) });
    expect(gpus[0]).toMatchObject({ memory: null, freeMemory: null });
  });

  test('that fails counts as none', async () => {
    const script = '#!/bin/sh\necho "NVIDIA-SMI has failed"; exit 9\n';
    const env = { PATH: folderOf({ 'nvidia-smi': script }) };
    expect(await findGpus({ env, ...nowhere })).toEqual({
      gpus: [],
      driver: null,
      cuda: null,
      reason: 'no NVIDIA driver',
    });
  });
});

describe('CUDA_VISIBLE_DEVICES', () => {
  test.each(['', '-1', '-1,0', 'none'])('"%s" hides every GPU', async (visible) => {
    const env = { ...withNvidiaSmi([H100]), CUDA_VISIBLE_DEVICES: visible };
    const { gpus, reason } = await findGpus({ env });
    expect(gpus).toEqual([]);
    expect(reason).toBe(`hidden by CUDA_VISIBLE_DEVICES="${visible}"`);
  });

  test.each([
    ['1,0', ['Tesla T4', 'NVIDIA H100 80GB HBM3']],
    ['1,-1,0', ['Tesla T4']],
    ['GPU-1a', ['Tesla T4']],
    ['7', []],
    ['MIG-5f', ['part of NVIDIA H100 80GB HBM3']],
  ])('"%s" chooses in its order', async (visible, expected) => {
    const env = { ...withNvidiaSmi([H100, T4]), CUDA_VISIBLE_DEVICES: visible };
    expect(await names(env)).toEqual(expected);
  });
});

describe('the driver’s own files', () => {
  const proc = {
    'proc/driver/nvidia/version':
      'NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.14  Thu Feb 22 01:44:30 UTC 2024\n',
    'proc/driver/nvidia/gpus/0000:01:00.0/information':
      'Model: \t\t NVIDIA A100-SXM4-40GB\nIRQ:   \t\t 64\nGPU UUID: \t GPU-9a\n',
  };

  test('serve where there is no nvidia-smi', async () => {
    const root = folderOf({ ...proc, 'usr/lib64/libcuda.so.1': '' });
    expect(await findGpus({ env: { PATH: '' }, root })).toEqual({
      gpus: [
        {
          name: 'NVIDIA A100-SXM4-40GB',
          computeCapability: null,
          memory: null,
          freeMemory: null,
        },
      ],
      driver: '550.54.14',
      cuda: null,
      reason: '',
    });
  });

  test('serve with a libcuda that LD_LIBRARY_PATH names', async () => {
    const library = folderOf({ 'libcuda.so.1': '' });
    const env = { PATH: '', LD_LIBRARY_PATH: `/nonexistent:${library}` };
    expect((await findGpus({ env, root: folderOf(proc) })).gpus).toHaveLength(1);
  });

  test.each([
    ['a GPU without libcuda.so.1', proc],
    ['libcuda.so.1 without a GPU', { 'usr/lib64/libcuda.so.1': '' }],
    [
      'a PCI device alone',
      { 'sys/bus/pci/devices/0000:01:00.0/vendor': '0x10de\n', 'usr/lib64/libcuda.so.1': '' },
    ],
  ])('do not count: %s', async (_, files) => {
    const { gpus, reason } = await findGpus({ env: { PATH: '' }, root: folderOf(files) });
    expect([gpus, reason]).toEqual([[], 'no NVIDIA driver']);
  });
});

describe('the environment that TensorFlow starts in', () => {
  test('takes memory as needed, keeps float32 whole and shows one GPU', () => {
    expect(gpuEnvironment({})).toEqual({
      TF_FORCE_GPU_ALLOW_GROWTH: 'true',
      NVIDIA_TF32_OVERRIDE: '0',
      CUDA_DEVICE_ORDER: 'PCI_BUS_ID',
      CUDA_VISIBLE_DEVICES: '0',
    });
  });

  test('is the user’s where it is set, but for GPUs after the first', () => {
    const env = {
      TF_FORCE_GPU_ALLOW_GROWTH: 'false',
      NVIDIA_TF32_OVERRIDE: '1',
      CUDA_DEVICE_ORDER: 'FASTEST_FIRST',
      CUDA_VISIBLE_DEVICES: '3, 1',
    };
    expect(gpuEnvironment(env)).toEqual({ ...env, CUDA_VISIBLE_DEVICES: '3' });
    expect(gpuEnvironment({ CUDA_VISIBLE_DEVICES: '' }).CUDA_VISIBLE_DEVICES).toBe('-1');
  });
});

describe('a GPU build of TensorFlow that runs on the CPU says', () => {
  test('that there is no driver', async () => {
    const fallback = await gpuFallback('cpu', { env: { PATH: '' }, ...nowhere }, true);
    expect(fallback).toBe(
      'TensorFlow is set up for a GPU but runs on the CPU (no NVIDIA driver): install the NVIDIA driver, or run "npx sda setup --cpu".',
    );
  });

  test('which GPU it does not use', async () => {
    const fallback = await gpuFallback('cpu', { env: withNvidiaSmi([H100]) }, true);
    expect(fallback).toContain('although NVIDIA H100 80GB HBM3 with driver 570.86.15 is visible');
  });

  test('nothing where it runs on the GPU, is no GPU build, or the GPU is hidden on purpose', async () => {
    const env = withNvidiaSmi([H100]);
    expect(await gpuFallback('gpu', { env }, true)).toBe('');
    expect(await gpuFallback('cpu', { env }, false)).toBe('');
    const hidden = { ...env, CUDA_VISIBLE_DEVICES: '' };
    expect(await gpuFallback('cpu', { env: hidden }, true)).toBe('');
  });
});
