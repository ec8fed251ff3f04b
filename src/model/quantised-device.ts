import { findGpus } from '../runtime/gpu.js';
import { type RuntimeInfo, startTensorFlow } from '../runtime/tensorflow.js';

/** The least compute capability of a GPU whose kernels take quantised weights. */
const LEAST_CAPABILITY = 8;

/** Why the device cannot use quantised weights as they are, in a few words; empty where it can. Starts TensorFlow. */
export async function quantisedObstacle(): Promise<string> {
  const runtime = await startTensorFlow();
  if (runtime.device === 'cpu') return '';
  const { gpus } = await findGpus();
  return obstacleOn(runtime, gpus[0]?.computeCapability ?? null);
}

/** The same of what runs. @param computeCapability of its GPU, such as `9.0`; null where the driver does not say */
export function obstacleOn(
  { device, kernels, reason }: Pick<RuntimeInfo, 'device' | 'kernels' | 'reason'>,
  computeCapability: string | null,
): string {
  if (device === 'cpu') return '';
  if (kernels !== 'native') return `the native kernels do not serve (${reason})`;
  if (computeCapability === null || Number(computeCapability) >= LEAST_CAPABILITY) return '';
  return `it has compute capability ${computeCapability} where ${LEAST_CAPABILITY}.0 is needed`;
}
