import { existsSync } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { cpus, freemem, totalmem } from 'node:os';
import { join } from 'node:path';
import { messageOf } from '../errors.js';
import { nativeAddonPath } from '../runtime/native.js';
import { cacheRoot, defaultModelDir } from '../runtime/paths.js';
import { packageVersion } from '../runtime/tensorflow.js';
import { bindingPath, tfjsVersion } from './addons.js';
import { probeAddon } from './compile.js';
import { freeBytes } from './disk.js';
import { visibleGpus } from './machine.js';
import { readRuntimeFile } from './runtime-file.js';
import { findCompiler, findPython } from './tools.js';
import { defaultModelComplete } from './weights.js';

/** What `sda doctor` found. Sizes are bytes. */
export interface DoctorReport {
  readonly versions: {
    readonly 'sda-tfjs': string;
    readonly node: string;
    readonly tfjs: string;
    /** Of the library that loads; null when none does. */
    readonly tensorflow: string | null;
  };
  readonly machine: {
    readonly platform: string;
    readonly cpu: string;
    readonly cores: number;
    readonly memory: number;
    readonly freeMemory: number;
    /** NVIDIA GPUs that are visible, by name. */
    readonly gpus: readonly string[];
  };
  /** Where tensors live; null when TensorFlow does not load. */
  readonly device: 'cpu' | 'gpu' | null;
  readonly kernels: {
    /** `native` when the addon loads and `SDA_KERNELS` does not leave it out. */
    readonly form: 'native' | 'reference';
    readonly path: string;
    /** Operations that the addon registers. */
    readonly operations: readonly string[];
    /** Value of `SDA_KERNELS`. */
    readonly setting: string;
  };
  readonly paths: {
    readonly tensorflow: string | null;
    readonly binding: string;
    readonly cache: string;
    readonly model: string;
  };
  /** Size of each folder directly in the cache. */
  readonly cache: Readonly<Record<string, number>>;
  readonly freeDisk: number;
  readonly model: 'complete' | 'missing';
  /** Something needed is missing: each says what to do. */
  readonly problems: readonly string[];
  /** It runs, but not as well as it could. */
  readonly warnings: readonly string[];
}

interface Probe {
  readonly version: string;
  readonly gpu: boolean;
}

/** Looks at the whole installation without changing it. Addons are loaded in processes of their own. */
export async function examine(env: NodeJS.ProcessEnv = process.env): Promise<DoctorReport> {
  const problems: string[] = [];
  const warnings: string[] = [];
  const runtime = readRuntimeFile();
  const gpus = await visibleGpus(env);
  const probe = await probeBinding(env, problems);
  const operations = await probeKernels(warnings);
  const setting = env.SDA_KERNELS || 'auto';
  const native = operations.length > 0 && setting !== 'reference';
  if (setting === 'native' && !native) problems.push('SDA_KERNELS=native, but no kernel loads.');
  if (gpus.length > 0 && probe && !probe.gpu) {
    warnings.push(
      runtime?.gpu === false
        ? `${gpus[0]} is visible, but the CPU build of TensorFlow is set up: run "npx sda setup --gpu".`
        : `${gpus[0]} is visible, but TensorFlow does not use it: compare its driver (nvidia-smi) with what TensorFlow ${probe.version} needs.`,
    );
  }
  const model = (await defaultModelComplete()) ? 'complete' : 'missing';
  if (model === 'missing') {
    problems.push(
      `The default model is not in ${defaultModelDir()}, or not whole: run "npm run weights".`,
    );
  }
  const processors = cpus();
  return {
    versions: {
      'sda-tfjs': packageVersion(),
      node: process.versions.node,
      tfjs: tfjsVersion(),
      tensorflow: probe?.version ?? null,
    },
    machine: {
      platform: `${process.platform} ${process.arch}`,
      cpu: processors[0]?.model ?? 'unknown',
      cores: processors.length,
      memory: totalmem(),
      freeMemory: freemem(),
      gpus,
    },
    device: probe ? (probe.gpu ? 'gpu' : 'cpu') : null,
    kernels: {
      form: native ? 'native' : 'reference',
      path: nativeAddonPath(),
      operations,
      setting,
    },
    paths: {
      tensorflow: runtime?.tensorflowDir ?? null,
      binding: bindingPath(),
      cache: cacheRoot(env),
      model: defaultModelDir(),
    },
    cache: await cacheSizes(cacheRoot(env)),
    freeDisk: await freeBytes(cacheRoot(env)),
    model,
    problems,
    warnings,
  };
}

async function probeBinding(
  env: NodeJS.ProcessEnv,
  problems: string[],
): Promise<Probe | undefined> {
  if (!existsSync(bindingPath())) {
    problems.push(`TensorFlow is not set up (no ${bindingPath()}): run "npm run setup".`);
    for (const find of [findPython, findCompiler]) {
      await find(env).catch((error: unknown) => problems.push(messageOf(error)));
    }
    return undefined;
  }
  try {
    const expression = '{ version: addon.TF_Version, gpu: addon.isUsingGpuDevice() }';
    return (await probeAddon(bindingPath(), expression)) as Probe;
  } catch (error) {
    problems.push(messageOf(error));
    return undefined;
  }
}

async function probeKernels(warnings: string[]): Promise<string[]> {
  const path = nativeAddonPath();
  if (!existsSync(path)) {
    warnings.push(
      'The native kernels are not built, the slower reference forms serve: run "npm run setup".',
    );
    return [];
  }
  try {
    return (await probeAddon(path, 'addon.operations')) as string[];
  } catch (error) {
    warnings.push(`The slower reference forms of the kernels serve: ${messageOf(error)}`);
    return [];
  }
}

async function cacheSizes(cache: string): Promise<Record<string, number>> {
  const sizes: Record<string, number> = {};
  if (!existsSync(cache)) return sizes;
  for (const entry of await readdir(cache, { withFileTypes: true })) {
    if (!entry.isDirectory()) continue;
    let total = 0;
    const files = await readdir(join(cache, entry.name), { withFileTypes: true, recursive: true });
    for (const file of files) {
      if (file.isFile()) total += (await stat(join(file.parentPath, file.name))).size;
    }
    sizes[entry.name] = total;
  }
  return sizes;
}
