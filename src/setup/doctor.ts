import { constants, existsSync } from 'node:fs';
import { access, readdir, stat } from 'node:fs/promises';
import { cpus, freemem, totalmem } from 'node:os';
import { join } from 'node:path';
import { messageOf } from '../errors.js';
import { findGpus, type GpuFacts } from '../runtime/gpu.js';
import { nativeAddonPath, serving } from '../runtime/native.js';
import { cacheRoot, defaultModelDir } from '../runtime/paths.js';
import { type RuntimeFile, readRuntimeFile } from '../runtime/runtime-file.js';
import { gpuFallback, packageVersion } from '../runtime/tensorflow.js';
import { bindingPath, tfjsVersion } from './addons.js';
import { cannotWrite } from './cache.js';
import { probeAddon } from './compile.js';
import { defaultModelComplete } from './default-model.js';
import { freeBytes, nearestExisting } from './disk.js';
import { findCompiler, findPython } from './tools.js';

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
  };
  /** NVIDIA GPUs that are visible, and their driver. */
  readonly gpu: GpuFacts;
  /** Where tensors live; null when TensorFlow does not load. */
  readonly device: 'cpu' | 'gpu' | null;
  readonly kernels: {
    /** `native` when the addon loads and `SDA_KERNELS` does not leave it out. */
    readonly form: 'native' | 'reference';
    readonly path: string;
    /** Operations that the addon registers. */
    readonly operations: readonly string[];
    /** Those that have a form for the GPU. */
    readonly gpuOperations: readonly string[];
    /** Release of the nvcc that compiled those; null where there is none. */
    readonly nvcc: string | null;
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
  const gpu = await findGpus({ env });
  const probe = await probeBinding(env, problems);
  const kernels = await probeKernels(warnings);
  const { operations, gpuOperations } = kernels;
  const setting = env.SDA_KERNELS || 'auto';
  const native = operations.length > 0 && setting !== 'reference';
  if (setting === 'native' && !native) problems.push('SDA_KERNELS=native, but no kernel loads.');
  if (probe) warnings.push(...(await gpuWarnings({ env, gpu, runtime, probe, kernels })));
  const model = (await defaultModelComplete()) ? 'complete' : 'missing';
  if (model === 'missing') {
    problems.push(
      `The default model is not in ${defaultModelDir()}, or not whole: run "npm run weights".`,
    );
  }
  const unwritable = await whyUnwritable(cacheRoot(env));
  if (unwritable) problems.push(messageOf(unwritable));
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
    },
    gpu,
    device: probe ? (probe.gpu ? 'gpu' : 'cpu') : null,
    kernels: {
      form: native ? 'native' : 'reference',
      path: nativeAddonPath(),
      operations,
      gpuOperations,
      nvcc: runtime?.nvcc ?? null,
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

/** Why the cache cannot be written, where it is or where it would be made; `undefined` where it can. */
async function whyUnwritable(folder: string): Promise<Error | undefined> {
  const existing = nearestExisting(folder);
  try {
    if (!(await stat(existing)).isDirectory()) throw new Error(`ENOTDIR: ${existing} is no folder`);
    await access(existing, constants.W_OK);
    return undefined;
  } catch (error) {
    return cannotWrite(folder, error);
  }
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

interface KernelProbe {
  readonly operations: readonly string[];
  readonly gpuOperations: readonly string[];
  /** Why the GPU forms do not run here; empty where they do, and where there are none. */
  readonly gpuProblem: string;
}

async function probeKernels(warnings: string[]): Promise<KernelProbe> {
  const none: KernelProbe = { operations: [], gpuOperations: [], gpuProblem: '' };
  const path = nativeAddonPath();
  if (!existsSync(path)) {
    warnings.push(
      'The native kernels are not built, the slower reference forms serve: run "npm run setup".',
    );
    return none;
  }
  try {
    const expression =
      '{ operations: addon.operations, gpuOperations: addon.gpuOperations ?? [], gpuProblem: addon.gpuOperations?.length ? addon.gpuProblem() : "" }';
    return (await probeAddon(path, `(${expression})`)) as KernelProbe;
  } catch (error) {
    warnings.push(`The slower reference forms of the kernels serve: ${messageOf(error)}`);
    return none;
  }
}

/** Oldest compute capability that TensorFlow's own kernels are compiled for. */
const OLDEST_CAPABILITY = 6.0;

/** What keeps TensorFlow or the kernels from a GPU, each with what to do. */
export async function gpuWarnings(facts: {
  readonly env: NodeJS.ProcessEnv;
  readonly gpu: GpuFacts;
  readonly runtime: Pick<RuntimeFile, 'gpu'> | undefined;
  readonly probe: Pick<Probe, 'gpu'>;
  readonly kernels: KernelProbe;
}): Promise<string[]> {
  const { env, gpu, runtime, probe, kernels } = facts;
  const [first] = gpu.gpus;
  const warnings: string[] = [];
  if (!probe.gpu) {
    if (first && runtime?.gpu === false) {
      warnings.push(
        `${first.name} is visible, but the CPU build of TensorFlow is set up: run "npx sda setup --gpu".`,
      );
    } else {
      const fallback = await gpuFallback('cpu', { env }, runtime?.gpu === true);
      if (fallback !== '') warnings.push(fallback);
    }
  } else {
    const { operations, gpuOperations, gpuProblem } = kernels;
    const { problem } = serving({ operations, gpuOperations, gpuProblem: () => gpuProblem }, 'gpu');
    if (operations.length > 0 && problem !== '') {
      warnings.push(
        `TensorFlow's own operations serve on the GPU: ${problem.replace(/: run .*$/, '')}; a CUDA compiler (nvcc) that this driver can serve, on PATH or in CUDA_HOME, and "npx sda setup" build them.`,
      );
    }
  }
  const capability = first?.computeCapability;
  if (capability && Number(capability) < OLDEST_CAPABILITY) {
    warnings.push(
      `${first.name} has compute capability ${capability}, and TensorFlow needs ${OLDEST_CAPABILITY.toFixed(1)} or newer: hide it with CUDA_VISIBLE_DEVICES="".`,
    );
  }
  if (gpu.gpus.length > 1) {
    warnings.push(
      `${gpu.gpus.length} GPUs are visible and the first is used: CUDA_VISIBLE_DEVICES chooses another, by nvidia-smi's number.`,
    );
  }
  return warnings;
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
