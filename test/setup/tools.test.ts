import { chmodSync, existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { buildAddon } from '../../src/setup/compile.js';
import { requireDisk } from '../../src/setup/disk.js';
import { pipEnvironment } from '../../src/setup/pip.js';
import { findCompiler, findPython, targetFingerprint } from '../../src/setup/tools.js';
import { errorOf, temporaryFolder } from './helpers.js';

/** A PATH with nothing on it but the given shell scripts. */
function pathWith(programs: Readonly<Record<string, string>>): NodeJS.ProcessEnv {
  const dir = temporaryFolder();
  for (const [name, body] of Object.entries(programs)) {
    writeFileSync(join(dir, name), `#!/bin/sh\n${body}\n`);
    chmodSync(join(dir, name), 0o755);
  }
  return { PATH: dir };
}

describe('Python', () => {
  test('is found with its version', async () => {
    expect((await findPython()).version).toMatch(/^3\.\d+$/);
  });

  test.each([
    ['is absent', {}, 'found none on PATH'],
    ['is too old', { python3: 'echo 3.8 pip' }, 'python3 is Python 3.8'],
    ['has no pip', { python3: 'echo 3.12 -' }, 'python3 has no pip'],
  ])('that %s is named with what to install', async (_, programs, found) => {
    const error = await errorOf(findPython(pathWith(programs)));
    expect(error.code).toBe('setup');
    expect(error.message).toContain(found);
    expect(error.message).toContain('apt-get install python3 python3-pip');
    expect(error.message).toContain('brew install python');
  });
});

describe('the compiler', () => {
  test('that is absent is named with what to install', async () => {
    const error = await errorOf(findCompiler(pathWith({})));
    expect(error.message).toContain('found none on PATH');
    expect(error.message).toContain('apt-get install g++');
    expect(error.message).toContain('xcode-select --install');
  });

  test('in CXX is the only one tried', async () => {
    const error = await errorOf(findCompiler({ ...process.env, CXX: 'no-such-compiler' }));
    expect(error.message).toContain('CXX=no-such-compiler does not run');
  });

  test('may be behind a launcher, as CXX="ccache g++" has it', async () => {
    const folder = temporaryFolder();
    const launcher = join(folder, 'launch');
    writeFileSync(launcher, '#!/bin/sh\nexec "$@"\n', { mode: 0o755 });
    const plain = await findCompiler();
    const found = await findCompiler({ ...process.env, CXX: ` ${launcher}  ${plain.command} ` });
    expect(found).toEqual({ ...plain, command: launcher, leading: [plain.command] });
    expect(await targetFingerprint(found, ['-O2'])).toBe(await targetFingerprint(plain, ['-O2']));
    const source = join(folder, 'one.cc');
    writeFileSync(source, 'extern "C" int one() { return 1; }\n');
    const output = join(folder, 'one.node');
    await buildAddon({
      compiler: found,
      sources: [source],
      includeDirs: [],
      flags: ['-fPIC'],
      libraries: [],
      libraryDirs: [],
      output,
    });
    expect(existsSync(output)).toBe(true);
  });

  test('may stand in a folder with a space', async () => {
    const folder = join(temporaryFolder(), 'my tools');
    mkdirSync(folder);
    const compiler = join(folder, 'compiler');
    writeFileSync(compiler, '#!/bin/sh\nexec c++ "$@"\n', { mode: 0o755 });
    expect(await findCompiler({ ...process.env, CXX: compiler })).toMatchObject({
      command: compiler,
      leading: [],
    });
  });

  test('tells two instruction sets apart, and refuses flags that it does not know', async () => {
    const compiler = await findCompiler();
    const plain = await targetFingerprint(compiler, ['-std=c++17']);
    expect(await targetFingerprint(compiler, ['-std=c++17'])).toBe(plain);
    expect(await targetFingerprint(compiler, ['-std=c++17', '-D__EXTRA_ISA__'])).not.toBe(plain);
    const error = await errorOf(targetFingerprint(compiler, ['-march=no-such-cpu']));
    expect(error.message).toContain('-march=no-such-cpu');
  });
});

test('pip is called apart from environments of the user’s own, with the index and proxy of the user, without colours', () => {
  const env = { PIP_REQUIRE_VIRTUALENV: '1', PIP_USER: '1', PIP_PREFIX: '/x', PIP_TARGET: '/y' };
  const more = { FORCE_COLOR: '1', PIP_INDEX_URL: 'https://pip.invalid', PATH: '/bin' };
  expect(pipEnvironment({ ...env, ...more })).toEqual({
    PIP_NO_COLOR: '1',
    PIP_REQUIRE_VIRTUALENV: '0',
    PIP_USER: '0',
    PIP_INDEX_URL: 'https://pip.invalid',
    PATH: '/bin',
  });
});

test('too little disk is said with the bytes needed and found', async () => {
  const folder = join(temporaryFolder(), 'not', 'there', 'yet');
  await requireDisk(folder, 1, 'Nothing');
  const error = await errorOf(requireDisk(folder, 5e18, 'Fetching TensorFlow'));
  expect(error.message).toMatch(
    /^Fetching TensorFlow needs 5000000\.0 TB of free disk at .*not\/there\/yet, found [\d.]+ [kMGT]?B: .*SDA_CACHE_DIR/,
  );
});
