import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join, relative } from 'node:path';
import { SdaError } from '../errors.js';
import { packageRoot } from '../runtime/paths.js';
import { cacheKey, fillFolder, readComplete, replaceFile } from './cache.js';
import { buildAddon, probeAddon } from './compile.js';
import { type CudaToolkit, nvccFlags } from './cuda.js';
import type { TensorFlow } from './tensorflow.js';
import { type Compiler, targetFingerprint } from './tools.js';

/** An addon in place. */
export interface Addon {
  /** Where node loads it from. */
  readonly path: string;
  /** Its key in the cache. */
  readonly key: string;
  readonly builtAt: string;
  readonly flags: readonly string[];
  readonly cached: boolean;
  /** What it answered when it was loaded for the first time. */
  readonly probed: unknown;
}

export interface AddonOptions {
  readonly tensorflow: TensorFlow;
  readonly compiler: Compiler;
  readonly cacheDir: string;
  readonly env: NodeJS.ProcessEnv;
  readonly onProgress: (text: string) => void;
}

const require = createRequire(import.meta.url);
const PROBE_FILE = 'probe.json';

/** Folder of tfjs-node in node_modules. */
export function tfjsNodeDir(): string {
  return dirname(require.resolve('@tensorflow/tfjs-node-gpu/package.json'));
}

/** Version of tfjs-node. */
export function tfjsVersion(): string {
  return (require('@tensorflow/tfjs-node-gpu/package.json') as { version: string }).version;
}

/** Where tfjs-node looks for its binding to TensorFlow. */
export function bindingPath(): string {
  return join(tfjsNodeDir(), 'lib', 'napi-v8', 'tfjs_binding.node');
}

function nodeApiHeaders(): string {
  return (require('node-api-headers') as { include_dir: string }).include_dir;
}

/**
 * Builds, or takes from the cache, tfjs-node's own binding to TensorFlow, and puts it in node_modules; with it a file
 * that holds TensorFlow's first notices to its log level.
 */
export async function ensureBinding(options: AddonOptions): Promise<Addon> {
  const sourceDir = join(tfjsNodeDir(), 'binding');
  const logLevel = join(packageRoot(), 'src', 'runtime', 'log-level.cc');
  const logLevelHash = createHash('sha256')
    .update(await readFile(logLevel))
    .digest('hex');
  return await ensureAddon({
    ...options,
    name: 'tfjs_binding',
    sourceDir,
    sources: [...(await sourceFiles(sourceDir)).filter((file) => file.endsWith('.cc')), logLevel],
    flags: ['-std=c++17', '-O2', '-fPIC', '-w', '-DNAPI_VERSION=8'],
    version: `${tfjsVersion()}-${logLevelHash}`,
    probe: 'addon.TF_Version',
    path: bindingPath(),
  });
}

/** Flags for each processor that `SDA_ARCH` can ask for, by Node's name of the architecture. */
const ARCH_FLAGS: Readonly<Record<string, Readonly<Record<string, readonly string[]>>>> = {
  // TensorFlow's copy of Eigen does not compile with AVX-512's float16 arithmetic under g++ 12, and no kernel needs it
  x64: {
    native: ['-march=native', '-U__AVX512FP16__'],
    portable: [],
    'x86-64-v2': ['-march=x86-64-v2'],
    'x86-64-v3': ['-march=x86-64-v3'],
    'x86-64-v4': ['-march=x86-64-v4'],
  },
  arm64: { native: ['-mcpu=native'], portable: [] },
};

/**
 * Flags of the native kernels, for the processors that `SDA_ARCH` names: `native` (default), this very one; `portable`,
 * all of its architecture; `x86-64-v2`, `-v3` or `-v4`, those of that level and later.
 *
 * @throws SdaError `usage` for a value that the architecture does not know.
 */
export function kernelFlags(arch: string, env: NodeJS.ProcessEnv): readonly string[] {
  const known = ARCH_FLAGS[arch] ?? { native: [], portable: [] };
  const wanted = env.SDA_ARCH || 'native';
  const flags = Object.hasOwn(known, wanted) ? known[wanted] : undefined;
  if (!flags) {
    const names = Object.keys(known).join(', ');
    throw new SdaError(
      'usage',
      `SDA_ARCH must be one of ${names} on ${arch}, not "${wanted}": correct or unset it.`,
    );
  }
  return [
    '-std=c++17',
    '-O3',
    ...flags,
    '-fPIC',
    '-DNAPI_VERSION=8',
    '-DEIGEN_MAX_ALIGN_BYTES=64',
    '-DNDEBUG',
  ];
}

/**
 * Builds, or takes from the cache, the addon of all native kernels under `<root>/kernels`, and puts it at
 * `<root>/build/sda_kernels.node`. `undefined` when there is no kernel source.
 *
 * @param options.cuda compiles the forms for the GPU too
 */
export async function ensureKernels(
  options: AddonOptions & { readonly root: string; readonly cuda?: CudaToolkit | undefined },
): Promise<Addon | undefined> {
  const sourceDir = join(options.root, 'kernels');
  const endings = options.cuda ? /\.(cc|cu)$/ : /\.cc$/;
  const sources = (await sourceFiles(sourceDir)).filter((file) => endings.test(file));
  if (!sources.some((file) => file.endsWith('/op.cc'))) return undefined;
  return await ensureAddon({
    ...options,
    name: 'sda_kernels',
    sourceDir,
    sources,
    flags: kernelFlags(process.arch, options.env),
    version: '',
    probe: '{ operations: addon.operations, gpuOperations: addon.gpuOperations ?? [] }',
    path: join(options.root, 'build', 'sda_kernels.node'),
  });
}

interface AddonRecipe extends AddonOptions {
  readonly cuda?: CudaToolkit | undefined;
  readonly name: string;
  readonly sourceDir: string;
  readonly sources: readonly string[];
  readonly flags: readonly string[];
  readonly version: string;
  /** Evaluated after loading, to see that it loads. */
  readonly probe: string;
  readonly path: string;
}

async function ensureAddon(recipe: AddonRecipe): Promise<Addon> {
  const { name, sourceDir, sources, flags, tensorflow, compiler, path, cuda } = recipe;
  const includeDirs = [sourceDir, nodeApiHeaders(), join(tensorflow.dir, 'include')];
  const key = cacheKey({
    name,
    version: recipe.version,
    sources: await hashSources(sourceDir),
    flags,
    ...(cuda && { nvcc: cuda.release, nvccFlags: nvccFlags(cuda), cuda: cuda.include }),
    compiler: compiler.version,
    target: await targetFingerprint(compiler, flags, recipe.env),
    tensorflow: tensorflow.fingerprint,
    libraryDirs: tensorflow.libraryDirs,
    platform: `${process.platform}-${process.arch}`,
  });
  const folder = join(recipe.cacheDir, 'addons', `${name}-${key}`);
  const file = `${name}.node`;
  let marker = await readComplete(folder);
  const cached = marker !== undefined;
  marker ??= await fillFolder(folder, async (temporary) => {
    const output = join(temporary, file);
    recipe.onProgress(`compiling: 0 of ${sources.length} files`);
    await buildAddon({
      compiler,
      cuda,
      sources,
      includeDirs,
      flags,
      libraries: tensorflow.libraries,
      libraryDirs: tensorflow.libraryDirs,
      output,
      onProgress: (done, total) => recipe.onProgress(`compiling: ${done} of ${total} files`),
    });
    const probed = await probeAddon(output, recipe.probe);
    await writeFile(join(temporary, PROBE_FILE), JSON.stringify(probed));
    return [file, PROBE_FILE];
  });
  await replaceFile(path, await readFile(join(folder, file)));
  const probed = JSON.parse(await readFile(join(folder, PROBE_FILE), 'utf8')) as unknown;
  return { path, key, builtAt: marker.builtAt, flags, cached, probed };
}

/** C++ and CUDA sources and headers below a folder, sorted, as absolute paths. */
export async function sourceFiles(dir: string): Promise<string[]> {
  if (!existsSync(dir)) return [];
  const entries = await readdir(dir, { withFileTypes: true, recursive: true });
  return entries
    .filter((entry) => entry.isFile() && /\.(cc|cu|cuh|h|hpp|inc)$/.test(entry.name))
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
}

/** A hash of the names and contents of `sourceFiles(dir)`. */
export async function hashSources(dir: string): Promise<string> {
  const hash = createHash('sha256');
  for (const file of await sourceFiles(dir)) {
    const content = await readFile(file);
    hash.update(`${relative(dir, file)}\0${content.length}\0`).update(content);
  }
  return hash.digest('hex');
}
