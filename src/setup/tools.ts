import { createHash } from 'node:crypto';
import { SdaError } from '../errors.js';
import { runProcess } from './process.js';

/** A Python that can run pip. */
export interface Python {
  readonly command: string;
  /** For example `3.11`. */
  readonly version: string;
}

/** A C++ compiler. */
export interface Compiler {
  readonly command: string;
  /** Arguments ahead of all others: the compiler itself where `command` is a launcher such as ccache. */
  readonly leading: readonly string[];
  /** First line of `--version`. */
  readonly version: string;
}

const OLDEST_PYTHON = [3, 9] as const;

/** Prints for example `3.11 pip`. */
const PYTHON_FACTS = `
import sys, importlib.util
print("%d.%d" % sys.version_info[:2], "pip" if importlib.util.find_spec("pip") else "-")`;

/**
 * The first of `python3` and `python` on PATH that is new enough and has pip.
 *
 * @throws SdaError `setup` that names the package to install.
 */
export async function findPython(env: NodeJS.ProcessEnv = process.env): Promise<Python> {
  const problems: string[] = [];
  for (const command of ['python3', 'python']) {
    const result = await runProcess(command, ['-c', PYTHON_FACTS], { env });
    if (result?.code !== 0) continue;
    const [version = '', pip] = result.stdout.trim().split(' ');
    const [major = 0, minor = 0] = version.split('.').map(Number);
    if (major !== OLDEST_PYTHON[0] || minor < OLDEST_PYTHON[1]) {
      problems.push(`${command} is Python ${version}, and 3.9 or newer is needed`);
    } else if (pip !== 'pip') {
      problems.push(`${command} has no pip`);
    } else {
      return { command, version };
    }
  }
  const found = problems.length > 0 ? `found: ${problems.join('; ')}` : 'found none on PATH';
  throw new SdaError(
    'setup',
    `Python 3.9 or newer with pip is needed to fetch the runtime (${found}): install it with "apt-get install python3 python3-pip" on Debian or Ubuntu, or "brew install python" on macOS.`,
  );
}

/**
 * The C++ compiler: `CXX` where it is set, a program or a program with arguments (`ccache g++`), else the first of
 * `c++`, `g++` and `clang++` on PATH.
 *
 * @throws SdaError `setup` that names the package to install.
 */
export async function findCompiler(env: NodeJS.ProcessEnv = process.env): Promise<Compiler> {
  const words = env.CXX?.trim().split(/\s+/) ?? [];
  const candidates = env.CXX ? [[env.CXX], words] : [['c++'], ['g++'], ['clang++']];
  for (const [command = '', ...leading] of candidates) {
    const version = await runProcess(command, [...leading, '--version'], { env });
    if (version?.code === 0) {
      return { command, leading, version: version.stdout.split('\n', 1)[0]?.trim() ?? '' };
    }
  }
  const found = env.CXX ? `CXX=${env.CXX} does not run` : 'found none on PATH';
  throw new SdaError(
    'setup',
    `A C++17 compiler is needed to build the kernels (${found}): install one with "apt-get install g++" on Debian or Ubuntu, or "xcode-select --install" on macOS.`,
  );
}

/** The compiler as it is called: `ccache g++`. */
export function nameOf(compiler: Pick<Compiler, 'command' | 'leading'>): string {
  return [compiler.command, ...compiler.leading].join(' ');
}

/**
 * A fingerprint of the instruction set that the given flags compile for: the compiler's predefined
 * macros. Two machines with the same fingerprint can share what was built with `-march=native`.
 */
export async function targetFingerprint(
  compiler: Compiler,
  flags: readonly string[],
  env: NodeJS.ProcessEnv = process.env,
): Promise<string> {
  const args = [...compiler.leading, ...flags, '-dM', '-E', '-x', 'c++', '/dev/null'];
  const macros = await runProcess(compiler.command, args, { env });
  if (macros?.code !== 0) {
    const why = macros?.stderr.split('\n', 1)[0] ?? 'it does not run';
    throw new SdaError(
      'setup',
      `${nameOf(compiler)} (${compiler.version}) refuses the flags ${flags.join(' ')} (${why}): use g++ 9, clang 10 or newer, by CXX, or set SDA_ARCH=portable.`,
    );
  }
  return createHash('sha256').update(macros.stdout).digest('hex').slice(0, 16);
}
