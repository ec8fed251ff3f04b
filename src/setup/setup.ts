import { cacheRoot, packageRoot } from '../runtime/paths.js';
import { ensureBinding, ensureKernels, tfjsVersion } from './addons.js';
import { replaceFile } from './cache.js';
import { thisMachine } from './machine.js';
import type { DeviceChoice } from './plan.js';
import { TENSORFLOW_VERSION } from './plan.js';
import { formatDuration, type Report } from './report.js';
import { type RuntimeFile, runtimeFilePath } from './runtime-file.js';
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
    const addon = await ensureKernels({ ...common, root, onProgress });
    const operations = Array.isArray(addon?.probed) ? addon.probed.length : 0;
    const detail = addon
      ? `${operations} operations`
      : 'none: no sources, the reference forms serve';
    return { addon, cached: addon?.cached ?? false, detail };
  });

  const runtime: RuntimeFile = {
    tensorflowDir: tensorflow.dir,
    tensorflowVersion: String(binding.probed),
    gpu: tensorflow.gpu ?? null,
    kernelsKey: kernels.addon?.key ?? null,
    builtAt: kernels.addon?.builtAt ?? binding.builtAt,
    compiler: compiler.version,
    flags: [...(kernels.addon?.flags ?? [])],
  };
  await replaceFile(runtimeFilePath(root), `${JSON.stringify(runtime, null, 2)}\n`);
  return { ...runtime, kernelsPath: kernels.addon?.path };
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
