import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { messageOf, SdaError } from '../errors.js';
import { nodeBackend } from './backend.js';
import { findGpus, type GpuOptions, gpuEnvironment } from './gpu.js';
import { type KernelStatus, loadNativeKernels } from './native.js';
import { packageRoot } from './paths.js';
import { readRuntimeFile } from './runtime-file.js';

/** What is running: for reports, traces and benchmarks. */
export interface RuntimeInfo extends KernelStatus {
  /** Version of the TensorFlow library. */
  readonly tensorflow: string;
  readonly device: 'cpu' | 'gpu';
}

let started: Promise<RuntimeInfo> | undefined;

let notices = false;

/** Lets TensorFlow and Node say on stderr what is no error too; to be called before TensorFlow starts. */
export function showNotices(): void {
  notices = true;
}

/**
 * Starts TensorFlow under tfjs and loads the native kernels (see `loadNativeKernels`); the first call does
 * the work, later ones return the same result. Environment variables the user set are left alone.
 *
 * @throws SdaError `setup` when the TensorFlow binding has not been built or does not load.
 */
export function startTensorFlow(): Promise<RuntimeInfo> {
  started ??= start();
  return started;
}

async function start(): Promise<RuntimeInfo> {
  // 0 shows all, 1 hides notices, 2 warnings too, 3 errors too; what makes an operation fail is thrown in any case
  process.env.TF_CPP_MIN_LOG_LEVEL ??= notices ? '0' : '2';
  Object.assign(process.env, gpuEnvironment(process.env));
  supplyNodeApi();
  try {
    await import('@tensorflow/tfjs-node-gpu');
  } catch (error) {
    const cause = messageOf(error).split('\n', 1)[0];
    throw new SdaError(
      'setup',
      `TensorFlow does not load (${cause}): run "npm run setup" in the sda-tfjs folder.`,
      { cause: error },
    );
  }
  const backend = nodeBackend();
  const device = backend.isUsingGpuDevice ? 'gpu' : 'cpu';
  return { tensorflow: backend.binding.TF_Version, device, ...loadNativeKernels(device) };
}

/**
 * Why the GPU build of TensorFlow runs on the CPU, in a sentence; empty where it does not, and where the user hides
 * the GPU.
 */
export async function gpuFallback(
  device: 'cpu' | 'gpu',
  options: GpuOptions = {},
  gpuBuild: boolean = readRuntimeFile()?.gpu === true,
): Promise<string> {
  if (device === 'gpu' || !gpuBuild) return '';
  const { gpus, driver, reason } = await findGpus(options);
  const [gpu] = gpus;
  if (reason.startsWith('hidden')) return '';
  if (!gpu) {
    return `TensorFlow is set up for a GPU but runs on the CPU (${reason}): install the NVIDIA driver, or run "npx sda setup --cpu".`;
  }
  return `TensorFlow is set up for a GPU but runs on the CPU, although ${gpu.name} with driver ${driver ?? 'unknown'} is visible: CUDA 12 needs driver 525 or newer and its library libcuda.so.1 ("npx sda doctor" says more).`;
}

/**
 * tfjs-node calls two functions of `node:util` that Node warns of (DEP0044, DEP0051) and removes one by one: it gets
 * them without the warning.
 */
function supplyNodeApi(): void {
  const util = createRequire(import.meta.url)('node:util') as Record<string, unknown>;
  const functions = {
    isArray: Array.isArray,
    isNullOrUndefined: (value: unknown) => value === null || value === undefined,
  };
  for (const [name, supplied] of Object.entries(functions)) {
    if (!notices || util[name] === undefined) util[name] = supplied;
  }
}

/** The package's own version. */
export function packageVersion(): string {
  const file = join(packageRoot(), 'package.json');
  return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version;
}
