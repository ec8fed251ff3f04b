import { z } from 'zod';
import { SdaError } from '../errors.js';
import { findGpus } from '../runtime/gpu.js';
import { cacheRoot, packageRoot } from '../runtime/paths.js';
import { type RuntimeFile, runtimeFilePath } from '../runtime/runtime-file.js';
import { gpuFallback } from '../runtime/tensorflow.js';
import {
  type Addon,
  type AddonOptions,
  bindingPath,
  ensureBinding,
  ensureKernels,
  tfjsVersion,
} from './addons.js';
import { replaceFile } from './cache.js';
import { probeAddon } from './compile.js';
import { ensureToolkit } from './cuda.js';
import { thisMachine } from './machine.js';
import { type DeviceChoice, LINUX_X64_TAGS, TENSORFLOW_VERSION } from './plan.js';
import { formatDuration, type Report } from './report.js';
import { ensureTensorFlow } from './tensorflow.js';
import { findCompiler } from './tools.js';

export interface SetupOptions {
  /** Default `auto`: the GPU where one is visible. */
  readonly device?: DeviceChoice;
}

export interface SetupResult extends RuntimeFile {
  /** The native kernels' addon; `undefined` when there is no kernel source. */
  readonly kernelsPath: string | undefined;
}

/**
 * Gets everything that TensorFlow needs to run here: the library (see `ensureTensorFlow`), tfjs-node's
 * binding to it, and the native kernels. What is in the cache is taken from there; what an interrupted run
 * left is not trusted. Two set-ups side by side do not disturb each other.
 *
 * @throws SdaError `setup` or `unsupported`, saying what to install or change.
 */
export async function setup(options: SetupOptions, report: Report): Promise<SetupResult> {
  const env = process.env;
  const cacheDir = cacheRoot(env);
  const root = packageRoot();
  const machine = await thisMachine(env);
  const compiler = await findCompiler(env);

  const name = env.SDA_TENSORFLOW_DIR ? 'TensorFlow' : `TensorFlow ${TENSORFLOW_VERSION}`;
  const { tensorflow } = await step(report, name, async (onProgress) => {
    const choice = options.device ?? 'auto';
    const result = await ensureTensorFlow({ machine, choice, cacheDir, env, onProgress });
    const { dir, gpu } = result.tensorflow;
    const kind = gpu === undefined ? 'own folder' : gpu ? 'GPU' : 'CPU';
    return { ...result, detail: `${kind}, ${dir}` };
  });

  const common = { tensorflow, compiler, cacheDir, env };
  const binding = await step(report, `tfjs ${tfjsVersion()} binding`, async (onProgress) =>
    ensureBinding({ ...common, onProgress }),
  );

  const kernels = await step(report, 'native kernels', async (onProgress) => {
    const forGpu = tensorflow.gpu ?? (machine.gpu && options.device !== 'cpu');
    const built = await buildKernels({ ...common, root, forGpu, onProgress });
    const { addon, nvcc } = built;
    const { operations, gpuOperations } = kernelProbe.catch(NO_OPERATIONS).parse(addon?.probed);
    const gpu = nvcc === null ? '' : `, ${gpuOperations.length} of them for the GPU too`;
    const detail = addon
      ? `${operations.length} operations${gpu}`
      : 'none: no sources, the reference forms serve';
    return { ...built, cached: addon?.cached ?? false, detail };
  });
  if (kernels.note !== '') report({ kind: 'note', text: kernels.note });
  if (tensorflow.gpu) {
    const gpu = (await probeAddon(bindingPath(), 'addon.isUsingGpuDevice()')) === true;
    const fallback = await gpuFallback(gpu ? 'gpu' : 'cpu', { env }, true);
    if (fallback !== '') report({ kind: 'note', text: fallback });
  }

  const runtime: RuntimeFile = {
    tensorflowDir: tensorflow.dir,
    tensorflowVersion: String(binding.probed),
    gpu: tensorflow.gpu ?? null,
    kernelsKey: kernels.addon?.key ?? null,
    builtAt: kernels.addon?.builtAt ?? binding.builtAt,
    compiler: compiler.version,
    flags: [...(kernels.addon?.flags ?? [])],
    nvcc: kernels.nvcc,
  };
  await replaceFile(runtimeFilePath(root), `${JSON.stringify(runtime, null, 2)}\n`);
  return { ...runtime, kernelsPath: kernels.addon?.path };
}

const kernelProbe = z.object({
  operations: z.array(z.string()),
  gpuOperations: z.array(z.string()),
});
const NO_OPERATIONS = { operations: [], gpuOperations: [] };

export interface BuiltKernels {
  readonly addon: Addon | undefined;
  /** Release of the nvcc that built them; null for the CPU alone. */
  readonly nvcc: string | null;
  /** Why they are for the CPU alone, though TensorFlow is for the GPU; else empty. */
  readonly note: string;
}

/**
 * The native kernels.
 *
 * @param options.forGpu with their forms for the GPU, where nvcc is to be had and compiles them
 */
export async function buildKernels(
  options: AddonOptions & { readonly root: string; readonly forGpu: boolean },
): Promise<BuiltKernels> {
  if (!options.forGpu) return { addon: await ensureKernels(options), nvcc: null, note: '' };
  const { env, cacheDir, onProgress } = options;
  const { cuda: driverCuda } = await findGpus({ env });
  const cuda = await ensureToolkit({
    env,
    cacheDir,
    driverCuda,
    platformTags: LINUX_X64_TAGS,
    onProgress,
  });
  if (typeof cuda === 'string') {
    return { addon: await ensureKernels(options), nvcc: null, note: cuda };
  }
  try {
    return { addon: await ensureKernels({ ...options, cuda }), nvcc: cuda.release, note: '' };
  } catch (error) {
    if (!(error instanceof SdaError)) throw error;
    const addon = await ensureKernels(options);
    const note = `The kernels are built for the CPU alone, and TensorFlow's own operations serve on the GPU: ${error.message}`;
    return { addon, nvcc: null, note };
  }
}

/** Runs one step, reporting its start, its progress and how it ended. */
export async function step<T extends { readonly cached: boolean; readonly detail?: string }>(
  report: Report,
  name: string,
  work: (onProgress: (text: string) => void) => Promise<T>,
): Promise<T> {
  const started = Date.now();
  let announced = false;
  const result = await work((text) => {
    if (!announced) report({ kind: 'start', text: `${name}: ${text}` });
    else report({ kind: 'progress', text: `${name}: ${text}` });
    announced = true;
  });
  const how = result.cached ? 'cached' : `ready in ${formatDuration(Date.now() - started)}`;
  const detail = result.detail ? ` (${result.detail})` : '';
  report({ kind: 'done', text: `${name}: ${how}${detail}` });
  return result;
}
