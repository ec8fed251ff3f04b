import { mkdir, rm } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { SdaError } from '../errors.js';
import { gpuEnvironment } from '../runtime/gpu.js';
import { packageRoot } from '../runtime/paths.js';
import { type CudaToolkit, cudaLinkFlags, nvccFlags } from './cuda.js';
import { type ProcessResult, runProcess } from './process.js';
import { type Compiler, nameOf } from './tools.js';

/** One Node addon to build. */
export interface AddonBuild {
  readonly compiler: Compiler;
  /** Compiles the sources that end in `.cu`. */
  readonly cuda?: CudaToolkit | undefined;
  readonly sources: readonly string[];
  readonly includeDirs: readonly string[];
  /** Compiler flags, in order. */
  readonly flags: readonly string[];
  /** Shared libraries to link, by path. */
  readonly libraries: readonly string[];
  /** Folders in which the addon looks for its libraries when it is loaded. */
  readonly libraryDirs: readonly string[];
  /** The `.node` file to write. */
  readonly output: string;
  /** Called as each source is done. */
  readonly onProgress?: (done: number, total: number) => void;
}

/** Flags that link a Node addon, whose N-API symbols the node program supplies. */
export function linkFlags(platform: NodeJS.Platform): readonly string[] {
  return platform === 'darwin' ? ['-bundle', '-undefined', 'dynamic_lookup'] : ['-shared'];
}

/**
 * Compiles the sources side by side, as many as there are processors, and links them into one addon.
 *
 * @throws SdaError `setup` with the compiler's first errors.
 */
export async function buildAddon(build: AddonBuild): Promise<void> {
  const objects = join(dirname(build.output), 'objects');
  await mkdir(objects, { recursive: true });
  const jobs = build.sources.map((source, index) => {
    const object = join(objects, `${index}.o`);
    return { source, object, ...compileCommand(build, source, object) };
  });
  let next = 0;
  let done = 0;
  const worker = async () => {
    for (let job = jobs[next++]; job; job = jobs[next++]) {
      try {
        const result = await runProcess(job.with.command, [...job.with.leading, ...job.args]);
        if (result?.code !== 0) throw compileFailed(job.source, job.with, result);
      } catch (error) {
        next = jobs.length;
        throw error;
      }
      build.onProgress?.(++done, jobs.length);
    }
  };
  const workers = Array.from({ length: Math.min(availableParallelism(), jobs.length) }, worker);
  const results = await Promise.allSettled(workers);
  for (const result of results) if (result.status === 'rejected') throw result.reason;
  const link = await runProcess(build.compiler.command, [
    ...build.compiler.leading,
    ...build.flags,
    ...linkFlags(process.platform),
    ...jobs.map((job) => job.object),
    '-o',
    build.output,
    ...build.libraries,
    ...(build.cuda ? cudaLinkFlags(build.cuda) : []),
    ...build.libraryDirs.map((dir) => `-Wl,-rpath,${dir}`),
  ]);
  if (link?.code !== 0) throw compileFailed(build.output, build.compiler, link);
  await rm(objects, { recursive: true });
}

function compileCommand(
  { compiler, cuda, flags, includeDirs }: AddonBuild,
  source: string,
  object: string,
): { readonly with: Compiler; readonly args: readonly string[] } {
  const includes = includeDirs.flatMap((dir) => ['-I', dir]);
  const files = ['-c', source, '-o', object];
  if (!cuda) return { with: compiler, args: [...flags, ...includes, ...files] };
  if (source.endsWith('.cu')) {
    const nvcc = { command: cuda.nvcc, leading: [], version: `nvcc ${cuda.release}` };
    const host = compiler.leading[0] ?? compiler.command; // nvcc takes no launcher
    const args = [...nvccFlags(cuda), '-ccbin', host, '-I', includeDirs[0]!, ...files];
    return { with: nvcc, args };
  }
  const withCuda = ['-DSDA_CUDA', ...includes, '-isystem', cuda.include];
  return { with: compiler, args: [...flags, ...withCuda, ...files] };
}

function compileFailed(
  file: string,
  compiler: Compiler,
  result: ProcessResult | undefined,
): SdaError {
  const lines = (result?.stderr ?? '').split('\n');
  const errors = lines.filter((line) =>
    /\b(fatal )?error\b( [#A-Z]?\w*)?:|undefined reference|Killed/i.test(line),
  );
  const shown = (errors.length > 0 ? errors : lines.filter((line) => line !== '')).slice(0, 5);
  const name = relative(packageRoot(), file);
  const instead = file.endsWith('.cu')
    ? 'set CUDA_HOME to another CUDA toolkit (one refuses C++ compilers that are newer than itself)'
    : 'set CXX to another C++17 compiler (g++ 9, clang 10 or newer)';
  return new SdaError(
    'setup',
    `${name.startsWith('..') ? file : name} does not build with ${nameOf(compiler)} (${compiler.version}): correct the source, ${instead}, or free memory if it was killed, then run the command again; it said:\n${shown.join('\n')}`,
  );
}

/**
 * Loads an addon in a node process of its own, so that a crash is seen as a failure.
 *
 * @param expression JavaScript whose value, with the addon as `addon`, is returned.
 * @throws SdaError `setup` when it does not load.
 */
export async function probeAddon(path: string, expression: string): Promise<unknown> {
  const script = `const addon = require(process.argv[1]); process.stdout.write('\\n' + JSON.stringify(${expression}));`;
  const result = await runProcess(process.execPath, ['-e', script, path], {
    env: { TF_CPP_MIN_LOG_LEVEL: '2', ...process.env, ...gpuEnvironment(process.env) },
  });
  if (result?.code === 0) return JSON.parse(result.stdout.split('\n').at(-1) ?? 'null') as unknown;
  const why =
    result?.stderr.split('\n').find((line) => /error/i.test(line)) ??
    (result?.signal ? `it ends node with ${result.signal}` : `exit status ${result?.code}`);
  throw new SdaError(
    'setup',
    `The addon ${path} does not load (${why.trim()}): expected glibc 2.27 or newer and the TensorFlow it was built with; run "npm run setup" again, with SDA_ARCH=portable if this processor is older than the one that built it.`,
  );
}
