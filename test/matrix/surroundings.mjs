// What the cells need of this machine. Each function returns what a cell is run with: variables (`env`) and a Node
// (`node`), or in a sentence's words why it is left out.
import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { cacheRoot } from '../../dist/src/runtime/paths.js';

const run = promisify(execFile);
const cache = cacheRoot();

/** The last instructions of each level of x86-64, by Linux's names; a processor that has them has the others. */
const LEVELS = {
  'x86-64-v2': ['sse4_2', 'ssse3', 'popcnt'],
  'x86-64-v3': ['avx2', 'fma', 'bmi2', 'f16c', 'movbe'],
  'x86-64-v4': ['avx512f', 'avx512bw', 'avx512cd', 'avx512dq', 'avx512vl'],
};

/** Whether this processor runs what is built for `arch`. */
export function processorRuns(arch) {
  if (arch === 'native') return {};
  if (process.arch !== 'x64') return `this processor is ${process.arch}`;
  const has = new Set(
    /^flags\s*:(.*)$/m.exec(readFileSync('/proc/cpuinfo', 'utf8'))?.[1].trim().split(' '),
  );
  const missing = LEVELS[arch].filter((flag) => !has.has(flag));
  return missing.length > 0 ? `this processor lacks ${missing.join(', ')}` : {};
}

/** Whether what is built for `arch` without TensorFlow can be compiled and run: there, or by an emulator. */
export async function nativeArch(arch) {
  if (process.arch === 'arm64') return {};
  for (const [program, packageName] of [
    [`${arch}-linux-gnu-g++`, `g++-${arch}-linux-gnu`],
    [`qemu-${arch}-static`, 'qemu-user-static'],
  ]) {
    const found = await run(program, ['--version']).catch(() => undefined);
    if (!found) return `there is no ${program} (Debian: ${packageName})`;
  }
  return {};
}

/** A Turkish locale of our own, made without root. */
export async function turkishLocale() {
  const name = 'tr_TR.UTF-8';
  const folder = join(cache, 'locales');
  if (!existsSync(join(folder, name, 'LC_CTYPE'))) {
    mkdirSync(folder, { recursive: true });
    const made = await run('localedef', ['-i', 'tr_TR', '-f', 'UTF-8', join(folder, name)]).catch(
      () => undefined,
    );
    if (!made) return `localedef cannot make ${name} (Debian: locales)`;
  }
  return { env: { LOCPATH: folder, LC_ALL: name } };
}

/**
 * Node of a version, from npm's package `node`, kept in the per-user cache.
 *
 * @param options.runner runs the tests by it; else the tests run it where they run the command line
 */
export async function nodeBinary(version, { runner = true } = {}) {
  const folder = join(cache, 'node', version);
  const binary = join(folder, 'node_modules', 'node', 'bin', 'node');
  const runs = () => run(binary, ['-v']).catch(() => undefined);
  if (!(await runs())) {
    mkdirSync(folder, { recursive: true });
    // the binary lies in a package of its own, which a script of `node` fetches
    const args = [
      'install',
      '--no-save',
      '--no-audit',
      '--no-fund',
      '--ignore-scripts=false',
      '--prefix',
      folder,
    ];
    await run('npm', [...args, `node@${version}`], { cwd: folder }).catch(() => undefined);
    if (!(await runs())) return `npm does not give node@${version}`;
  }
  const path = `${dirname(binary)}:${process.env.PATH}`;
  return runner ? { node: binary, env: { PATH: path } } : { env: { SDA_TEST_NODE: binary } };
}
