import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { afterEach, describe, expect, test, vi } from 'vitest';
import type { Machine } from '../../src/setup/plan.js';
import { cudaRequirements, ensureTensorFlow } from '../../src/setup/tensorflow.js';
import { errorOf, temporaryFolder, writeWheel } from './helpers.js';

const machine: Machine = { platform: 'linux', arch: 'x64', libc: 'glibc', gpu: false };

const library = {
  'tensorflow/libtensorflow_cc.so.2': 'cc',
  'tensorflow/libtensorflow_framework.so.2': 'framework',
  'tensorflow/include/tensorflow/c/c_api.h': '// api',
  'tensorflow/python.py': 'not needed',
};
const tag = 'cp311-cp311-manylinux_2_27_x86_64';

/** A folder that pip takes wheels from instead of the package index. */
function localIndex(): string {
  const dir = temporaryFolder();
  vi.stubEnv('PIP_NO_INDEX', '1');
  vi.stubEnv('PIP_FIND_LINKS', dir);
  return dir;
}

function ensure(
  cacheDir: string,
  choice: 'auto' | 'gpu' = 'auto',
  env: NodeJS.ProcessEnv = process.env,
) {
  const onProgress = () => {};
  return ensureTensorFlow({ machine, choice, cacheDir, env, onProgress });
}

afterEach(() => vi.unstubAllEnvs());

describe('TensorFlow from a wheel', { timeout: 60_000 }, () => {
  test('is fetched once, without what is not needed, and then taken from the cache', async () => {
    writeWheel(localIndex(), { name: 'tensorflow_cpu', version: '2.21.0', tag }, library);
    const cache = temporaryFolder();
    const { tensorflow, cached } = await ensure(cache);
    expect(cached).toBe(false);
    expect(readFileSync(tensorflow.libraries[0]!, 'utf8')).toBe('cc');
    expect(readdirSync(tensorflow.dir).sort()).toEqual([
      'include',
      'libtensorflow_cc.so.2',
      'libtensorflow_framework.so.2',
    ]);
    expect(readdirSync(dirname(tensorflow.dir))).not.toContain('download');

    const offline = { PATH: '' };
    expect((await ensure(cache, 'auto', offline)).cached).toBe(true);

    truncateSync(tensorflow.libraries[0]!, 1);
    expect((await errorOf(ensure(cache, 'auto', offline))).message).toContain('Python 3.9');
  });

  test('for a GPU brings its CUDA libraries in the layout of the wheels', async () => {
    const index = localIndex();
    const metadata =
      'Provides-Extra: and-cuda\nRequires-Dist: nvidia-cublas-cu12<13.0,>=12.5; extra == "and-cuda"\n';
    writeWheel(index, { name: 'tensorflow', version: '2.21.0', tag, metadata }, library);
    writeWheel(
      index,
      { name: 'nvidia_cublas_cu12', version: '12.9.1', tag: 'py3-none-manylinux_2_27_x86_64' },
      { 'nvidia/cublas/lib/libcublas.so.12': 'cublas' },
    );
    const { tensorflow } = await ensure(temporaryFolder(), 'gpu');
    expect(tensorflow.gpu).toBe(true);
    expect(tensorflow.libraryDirs).toHaveLength(2);
    expect(existsSync(join(tensorflow.libraryDirs[1]!, 'libcublas.so.12'))).toBe(true);
  });

  test('that lacks a library leaves nothing in the cache', async () => {
    const { 'tensorflow/libtensorflow_cc.so.2': _, ...rest } = library;
    writeWheel(localIndex(), { name: 'tensorflow_cpu', version: '2.21.0', tag }, rest);
    const cache = temporaryFolder();
    const error = await errorOf(ensure(cache));
    expect(error.message).toContain('libtensorflow_cc.so.2');
    expect(readdirSync(join(cache, 'tensorflow'))).toEqual([]);
  });

  test('that cannot be had gives pip’s reason and leaves nothing in the cache', async () => {
    localIndex();
    const cache = temporaryFolder();
    const error = await errorOf(ensure(cache));
    expect(error.message).toMatch(/pip could not download tensorflow-cpu==2\.21\.0 \(No matching/);
    expect(readdirSync(join(cache, 'tensorflow'))).toEqual([]);
  });
});

describe('TensorFlow in SDA_TENSORFLOW_DIR', () => {
  function ownFolder(): string {
    const dir = temporaryFolder();
    for (const [name, text] of Object.entries(library)) {
      const path = join(dir, name);
      mkdirSync(dirname(path), { recursive: true });
      writeFileSync(path, text);
    }
    return join(dir, 'tensorflow');
  }

  test('is used where it lies', async () => {
    const dir = ownFolder();
    const cache = temporaryFolder();
    const { tensorflow } = await ensure(cache, 'auto', { SDA_TENSORFLOW_DIR: dir });
    expect(tensorflow.dir).toBe(dir);
    expect(readdirSync(cache)).toEqual([]);
  });

  test('that is not one is refused by what it lacks', async () => {
    const env = { SDA_TENSORFLOW_DIR: dirname(ownFolder()) };
    const error = await errorOf(ensure(temporaryFolder(), 'auto', env));
    expect(error.message).toMatch(
      /lacks .*libtensorflow_cc\.so\.2: expected the "tensorflow" folder/,
    );
  });
});

test('the CUDA requirements are those of the and-cuda extra alone', () => {
  const metadata = [
    'Requires-Dist: numpy>=1.26.0',
    'Requires-Dist: nvidia-cublas-cu12<13.0,>=12.5.3.2; extra == "and-cuda"',
    "Requires-Dist: nvidia-nccl-cu12 <3.0,>=2.27.7 ; extra == 'and-cuda'",
    'Requires-Dist: other; extra == "gcs-filesystem"',
  ].join('\n');
  expect(cudaRequirements(metadata)).toEqual([
    'nvidia-cublas-cu12<13.0,>=12.5.3.2',
    'nvidia-nccl-cu12<3.0,>=2.27.7',
  ]);
});
