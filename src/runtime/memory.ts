import { readFileSync } from 'node:fs';
import { freemem } from 'node:os';
import { findGpus, type GpuOptions } from './gpu.js';
import { readRuntimeFile } from './runtime-file.js';

/** Where a model's tensors live, and the bytes free there. */
export interface ModelMemory {
  readonly place: 'host' | 'device';
  readonly available: number;
  /** Of the GPU; null on the host */
  readonly device: string | null;
}

/**
 * The memory that a model would take: the GPU's, where TensorFlow for the GPU is set up and the driver tells what is
 * free, else the host's. TensorFlow is not started.
 *
 * @param gpuBuild whether TensorFlow may use a GPU; default: what set-up recorded
 */
export async function modelMemory(
  options: GpuOptions = {},
  gpuBuild: boolean = mayUseGpu(),
): Promise<ModelMemory> {
  const gpu = gpuBuild ? (await findGpus(options)).gpus[0] : undefined;
  if (gpu?.freeMemory == null) return hostMemory();
  return { place: 'device', available: gpu.freeMemory, device: gpu.name };
}

/** A TensorFlow folder of the user's own may be for the GPU, which set-up does not know. */
function mayUseGpu(): boolean {
  const gpu = readRuntimeFile()?.gpu;
  return gpu === true || gpu === null;
}

/** The host's memory, as `modelMemory` tells it. */
export function hostMemory(): ModelMemory {
  return { place: 'host', available: availableMemory(), device: null };
}

/** Bytes that this process could still take without swapping: the machine's, or its container's where that is less. */
export function availableMemory(): number {
  const machine = fieldOf('/proc/meminfo', /^MemAvailable:\s+(\d+) kB/m);
  const limit = fieldOf('/sys/fs/cgroup/memory.max', /^(\d+)$/m);
  const used = fieldOf('/sys/fs/cgroup/memory.current', /^(\d+)$/m);
  const free = machine === null ? freemem() : machine * 1024;
  return limit === null || used === null ? free : Math.min(free, Math.max(0, limit - used));
}

function fieldOf(file: string, pattern: RegExp): number | null {
  try {
    const digits = pattern.exec(readFileSync(file, 'utf8'))?.[1];
    return digits === undefined ? null : Number(digits);
  } catch {
    return null; // not Linux, or no such limit
  }
}
