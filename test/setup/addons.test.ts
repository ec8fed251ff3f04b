import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { type Addon, ensureKernels, hashSources, kernelFlags } from '../../src/setup/addons.js';
import { probeAddon } from '../../src/setup/compile.js';
import type { TensorFlow } from '../../src/setup/tensorflow.js';
import { findCompiler } from '../../src/setup/tools.js';
import { errorOf, temporaryFolder } from './helpers.js';

/** Nothing to link with: these kernels are plain Node addons. */
const nothing: TensorFlow = {
  dir: '/nonexistent',
  gpu: false,
  libraries: [],
  libraryDirs: [],
  fingerprint: 'none',
};

const addonSource = `#include <node_api.h>
#include "name.h"
static napi_value Init(napi_env env, napi_value exports) {
  napi_value list, name;
  napi_create_array(env, &list);
  napi_create_string_utf8(env, NAME, NAPI_AUTO_LENGTH, &name);
  napi_set_element(env, list, 0, name);
  napi_set_named_property(env, exports, "operations", list);
  return exports;
}
NAPI_MODULE(sda_kernels, Init)
`;

function project(source = addonSource): string {
  const root = temporaryFolder();
  mkdirSync(join(root, 'kernels', 'step'), { recursive: true });
  writeFileSync(join(root, 'kernels', 'addon.cc'), source);
  writeFileSync(join(root, 'kernels', 'step', 'op.cc'), 'int unused_symbol = 1;\n');
  writeFileSync(join(root, 'kernels', 'name.h'), '#define NAME "First"\n');
  return root;
}

async function build(root: string): Promise<Addon | undefined> {
  return await ensureKernels({
    root,
    tensorflow: nothing,
    compiler: await findCompiler(),
    cacheDir: join(root, 'cache'),
    env: process.env,
    onProgress: () => {},
  });
}

describe('the native kernels', { timeout: 60_000 }, () => {
  test('are built, put in place, cached, and built anew when a header changes', async () => {
    const root = project();
    const first = await build(root);
    expect([first?.cached, first?.probed]).toEqual([
      false,
      { operations: ['First'], gpuOperations: [] },
    ]);
    expect(await probeAddon(join(root, 'build', 'sda_kernels.node'), 'addon.operations')).toEqual([
      'First',
    ]);

    const again = await build(root);
    expect([again?.cached, again?.key]).toEqual([true, first?.key]);

    writeFileSync(join(root, 'kernels', 'name.h'), '#define NAME "Second"\n');
    const changed = await build(root);
    expect(changed?.cached).toBe(false);
    expect(changed?.probed).toMatchObject({ operations: ['Second'] });
    expect(changed?.key).not.toBe(first?.key);
    expect(readdirSync(join(root, 'build'))).toEqual(['sda_kernels.node']);
  });

  test('are built anew when the cached addon is damaged', async () => {
    const root = project();
    const first = await build(root);
    const cached = join(root, 'cache', 'addons', `sda_kernels-${first?.key}`, 'sda_kernels.node');
    writeFileSync(cached, 'half');
    expect((await build(root))?.cached).toBe(false);
    expect(hash(cached)).toBe(hash(first!.path));
  });

  test('that do not compile say where, and are not put in place', async () => {
    const root = project();
    writeFileSync(
      join(root, 'kernels', 'step', 'op.cc'),
      'int broken() { return missing_name; }\n',
    );
    const error = await errorOf(build(root));
    expect(error.message).toContain(join('kernels', 'step', 'op.cc'));
    expect(error.message).toContain('missing_name');
    expect(error.message).toContain('CXX');
    expect(existsSync(join(root, 'build'))).toBe(false);
    expect(readdirSync(join(root, 'cache', 'addons'))).toEqual([]);
  });

  test('that end the process when they load are refused', async () => {
    const root = project('#include <cstdlib>\nstatic int now = (std::abort(), 0);\n');
    const error = await errorOf(build(root));
    expect(error.message).toContain('SIGABRT');
    expect(existsSync(join(root, 'build'))).toBe(false);
  });

  test('are left out where there is no op.cc', async () => {
    expect(await build(temporaryFolder())).toBeUndefined();
  });
});

test('the hash of the sources sees a new name, a new file and a new content', async () => {
  const dir = temporaryFolder();
  const write = (name: string, text: string) => writeFileSync(join(dir, name), text);
  const hashes = new Set<string>();
  write('a.h', 'x');
  hashes.add(await hashSources(dir));
  write('a.h', 'y');
  hashes.add(await hashSources(dir));
  write('b.h', 'y');
  hashes.add(await hashSources(dir));
  write('b.h', '');
  write('c.cc', 'y');
  hashes.add(await hashSources(dir));
  expect(hashes.size).toBe(4);
  const before = await hashSources(dir);
  write('notes.md', 'not a source');
  expect(await hashSources(dir)).toBe(before);
});

test('kernels are built for this processor, or for what SDA_ARCH names', async () => {
  expect(kernelFlags('x64', {})).toContain('-march=native');
  expect(kernelFlags('x64', { SDA_ARCH: '' })).toContain('-march=native');
  expect(kernelFlags('arm64', {})).toContain('-mcpu=native');
  expect(kernelFlags('x64', { SDA_ARCH: 'x86-64-v3' })).toContain('-march=x86-64-v3');
  for (const arch of ['x64', 'arm64', 'riscv64']) {
    expect(kernelFlags(arch, { SDA_ARCH: 'portable' }).join(' ')).not.toMatch(/-m(arch|cpu)/);
  }
  for (const wrong of ['x86-64-v3', 'constructor']) {
    const error = await errorOf((async () => kernelFlags('arm64', { SDA_ARCH: wrong }))());
    expect(error.message).toBe(
      `SDA_ARCH must be one of native, portable on arm64, not "${wrong}": correct or unset it.`,
    );
  }
});

function hash(path: string): string {
  return createHash('sha256').update(readFileSync(path)).digest('hex');
}

test('node-api-headers is where the build looks for it', () => {
  const { include_dir } = createRequire(import.meta.url)('node-api-headers') as {
    include_dir: string;
  };
  expect(existsSync(join(include_dir, 'node_api.h'))).toBe(true);
});
