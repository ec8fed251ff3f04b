import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { ensureKernels } from '../../src/setup/addons.js';
import {
  type CudaToolkit,
  describeToolkit,
  ensureToolkit,
  nvccFlags,
} from '../../src/setup/cuda.js';
import { LINUX_X64_TAGS } from '../../src/setup/plan.js';
import { buildKernels } from '../../src/setup/setup.js';
import type { TensorFlow } from '../../src/setup/tensorflow.js';
import { findCompiler } from '../../src/setup/tools.js';
import { folderOf } from '../support/fake-gpu.js';
import { temporaryFolder, writeWheel } from './helpers.js';

/** An nvcc that says what a release says, and hands .cu files to g++ as C++. */
const nvccScript = (release: string) => `#!/bin/sh
case "$*" in
  --version) echo "Cuda compilation tools, release ${release}, V${release}.1" ;;
  --list-gpu-code) printf 'sm_75\\nsm_80\\nsm_90\\nsm_120\\n' ;;
  --dryrun*) here=$(dirname "$0"); echo "#$ TOP=$here/.." >&2 ;;
  *)
    here=$(dirname "$0"); echo "$@" > "$here/arguments"
    while [ $# -gt 0 ]; do
      case "$1" in -c) source=$2; shift ;; -o) object=$2; shift ;; esac; shift
    done
    exec g++ -fPIC -x c++ -c "$source" -o "$object" ;;
esac
`;

const toolkitFiles = (release: string) => ({
  'bin/nvcc': nvccScript(release),
  'include/cuda_runtime.h': '',
  'lib64/libcudart_static.a': '!<arch>\n',
});

function toolkitFolder(release: string): string {
  return folderOf(toolkitFiles(release));
}

const PATH = '/usr/bin:/bin';

function ensure(
  env: NodeJS.ProcessEnv,
  driverCuda: string | null = null,
  cacheDir = temporaryFolder(),
) {
  const onProgress = () => {};
  const system = '/nonexistent';
  const platformTags = LINUX_X64_TAGS;
  return ensureToolkit({ env, cacheDir, driverCuda, platformTags, system, onProgress });
}

/** pip finds nothing but what is in this folder. */
function localIndex(): string {
  const dir = temporaryFolder();
  vi.stubEnv('PIP_NO_INDEX', '1');
  vi.stubEnv('PIP_FIND_LINKS', dir);
  return dir;
}

afterEach(() => vi.unstubAllEnvs());

describe('the CUDA compiler', { timeout: 60_000 }, () => {
  test('is taken from PATH, with the headers and the library beside it', async () => {
    const top = toolkitFolder('12.9');
    const found = await ensure({ PATH: `${join(top, 'bin')}:${PATH}` }, '12.8');
    expect(found).toMatchObject({
      nvcc: join(top, 'bin', 'nvcc'),
      release: '12.9',
      architectures: ['75', '80', '90', '120'],
    });
    expect(await describeToolkit(join(top, 'bin', 'nvcc'), { PATH })).toEqual(found);
  });

  test('is taken from CUDA_HOME after PATH', async () => {
    const top = toolkitFolder('12.4');
    expect(await ensure({ PATH, CUDA_HOME: top })).toMatchObject({ release: '12.4' });
    const first = toolkitFolder('12.6');
    const env = { PATH: `${join(first, 'bin')}:${PATH}`, CUDA_HOME: top };
    expect(await ensure(env)).toMatchObject({ release: '12.6' });
  });

  test.each([
    ['13.1', '12.8', /nvcc is CUDA 13\.1, and the driver runs CUDA 12\.8/],
    ['11.5', '12.8', /nvcc is CUDA 11\.5, and 11\.8 or newer is needed/],
  ])('of release %s with a driver for %s is passed over', async (release, driver, reason) => {
    const found = await ensure({ PATH, CUDA_HOME: toolkitFolder(release) }, driver);
    expect(found).toMatch(reason);
    expect(found).toMatch(/the nvcc on PyPI needs a driver for CUDA 13\.0/);
    expect(found).toMatch(/TensorFlow's own operations serve on the GPU; install the CUDA 12/);
  });

  test('that is one CUDA of its major version newer than the driver will do', async () => {
    const found = await ensure({ PATH, CUDA_HOME: toolkitFolder('12.9') }, '12.2');
    expect(found).toMatchObject({ release: '12.9' });
  });

  test('is fetched from PyPI once where the machine has none and the driver runs it', async () => {
    const index = localIndex();
    const wheel = (name: string, version: string, members: Record<string, string>) =>
      writeWheel(index, { name, version, tag: 'py3-none-manylinux2014_x86_64' }, members);
    const files = (names: readonly string[]) =>
      Object.fromEntries(
        Object.entries(toolkitFiles('13.0'))
          .filter(([name]) => names.includes(name))
          .map(([name, text]) => [`nvidia/cu13/${name.replace('lib64', 'lib')}`, text]),
      );
    wheel('nvidia_cuda_nvcc', '13.0.88', files(['bin/nvcc']));
    wheel('nvidia_nvvm', '13.0.88', { 'nvidia/cu13/nvvm/bin/cicc': '' });
    wheel('nvidia_cuda_crt', '13.0.88', { 'nvidia/cu13/include/crt/a.h': '' });
    wheel(
      'nvidia_cuda_runtime',
      '13.0.96',
      files(['include/cuda_runtime.h', 'lib64/libcudart_static.a']),
    );
    wheel('nvidia_cuda_cccl', '13.0.85', { 'nvidia/cu13/include/cccl/a.h': '' });
    const cache = temporaryFolder();
    expect(await ensure({ PATH }, '13.0', cache)).toMatchObject({ release: '13.0' });
    vi.stubEnv('PIP_FIND_LINKS', '/nonexistent');
    expect(await ensure({ PATH }, null, cache)).toMatchObject({
      release: '13.0',
      library: join(cache, 'cuda', 'nvcc-13.0', 'nvidia', 'cu13', 'lib'),
    });
  });

  test('that is nowhere to be had is said in a sentence', async () => {
    localIndex();
    const found = await ensure({ PATH }, '13.0');
    expect(found).toMatch(/^There is no CUDA compiler for the kernels \(pip could not download/);
  });
});

test('kernels are compiled for the architectures that nvcc knows, and as PTX for later ones', () => {
  const flags = nvccFlags({ architectures: ['80', '90', '120'] } as unknown as CudaToolkit);
  expect(flags.filter((flag) => flag.startsWith('-gencode'))).toEqual([
    '-gencode=arch=compute_80,code=sm_80',
    '-gencode=arch=compute_90,code=sm_90',
    '-gencode=arch=compute_90,code=compute_90',
  ]);
  expect(flags).toContain('-DSDA_CUDA');
});

const addonSource = `#include <node_api.h>
#if defined(SDA_CUDA)
#include <cuda_runtime.h>
extern "C" const char* from_cuda();
#endif
static napi_value Init(napi_env env, napi_value exports) {
  napi_value list, gpu, name;
  napi_create_array(env, &list);
  napi_create_array(env, &gpu);
#if defined(SDA_CUDA)
  napi_create_string_utf8(env, from_cuda(), NAPI_AUTO_LENGTH, &name);
  napi_set_element(env, gpu, 0, name);
#else
  (void)name;
#endif
  napi_set_named_property(env, exports, "operations", list);
  napi_set_named_property(env, exports, "gpuOperations", gpu);
  return exports;
}
NAPI_MODULE(sda_kernels, Init)
`;

describe('an addon with CUDA sources', { timeout: 60_000 }, () => {
  const nothing: TensorFlow = {
    dir: '/nonexistent',
    gpu: true,
    libraries: [],
    libraryDirs: [],
    fingerprint: 'none',
  };

  async function build(root: string, cuda?: CudaToolkit) {
    return await ensureKernels({
      root,
      cuda,
      tensorflow: nothing,
      compiler: await findCompiler(),
      cacheDir: join(root, 'cache'),
      env: process.env,
      onProgress: () => {},
    });
  }

  test('has them compiled by nvcc where there is one, and leaves them out where not', async () => {
    const root = folderOf({
      'kernels/addon.cc': addonSource,
      'kernels/step/op.cc': 'int unused_symbol = 1;\n',
      'kernels/step/cuda.cu': 'extern "C" const char* from_cuda() { return "Step"; }\n',
    });
    const plain = await build(root);
    expect(plain?.probed).toEqual({ operations: [], gpuOperations: [] });

    const cuda = (await ensure({ PATH, CUDA_HOME: toolkitFolder('12.9') })) as CudaToolkit;
    const withCuda = await build(root, cuda);
    expect(withCuda?.probed).toEqual({ operations: [], gpuOperations: ['Step'] });
    expect(withCuda?.key).not.toBe(plain?.key);
    expect((await build(root))?.key).toBe(plain?.key);

    writeFileSync(
      join(root, 'kernels/step/cuda.cu'),
      'extern "C" const char* from_cuda() { return "Other"; }\n',
    );
    expect((await build(root, cuda))?.probed).toMatchObject({ gpuOperations: ['Other'] });
  });

  test('whose CUDA sources do not compile is built for the CPU, and why is said', async () => {
    const root = folderOf({
      'kernels/addon.cc': addonSource,
      'kernels/step/op.cc': 'int unused_symbol = 1;\n',
      'kernels/step/cuda.cu': 'int broken() { return missing_name; }\n',
    });
    const built = await buildKernels({
      root,
      forGpu: true,
      tensorflow: nothing,
      compiler: await findCompiler(),
      cacheDir: join(root, 'cache'),
      env: { ...process.env, CUDA_HOME: toolkitFolder('12.9') },
      onProgress: () => {},
    });
    expect(built.addon?.probed).toEqual({ operations: [], gpuOperations: [] });
    expect(built.nvcc).toBeNull();
    expect(built.note).toMatch(/^The kernels are built for the CPU alone, and TensorFlow's own/);
    expect(built.note).toMatch(/cuda\.cu does not build .*nvcc 12\.9/);
    expect(built.note).toContain('missing_name');
  });
});
