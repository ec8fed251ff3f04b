import { existsSync } from 'node:fs';
import { availableParallelism, cpus, totalmem } from 'node:os';
import { join } from 'node:path';
import { findGpus, type GpuOptions } from '../runtime/gpu.js';
import { packageRoot } from '../runtime/paths.js';
import { packageVersion, startTensorFlow } from '../runtime/tensorflow.js';
import { tfjsVersion } from '../setup/addons.js';
import { runProcess } from '../setup/process.js';

/** Where and with what a measurement was made. */
export interface Environment {
  /** ISO 8601 */
  readonly date: string;
  readonly machine: {
    readonly platform: string;
    readonly cpu: string;
    readonly cores: number;
    readonly memoryBytes: number;
    /** CPU threads of a TensorFlow operation */
    readonly threads: number;
    readonly device: 'cpu' | 'gpu';
    /** The GPU that TensorFlow runs on; null on the CPU */
    readonly gpu: GpuDescription | null;
  };
  readonly versions: {
    readonly sdaTfjs: string;
    /** Of the working tree, with "-dirty" where it was changed; null outside a repository */
    readonly commit: string | null;
    readonly node: string;
    readonly tfjs: string;
    readonly tensorflow: string;
  };
  readonly kernels: 'native' | 'reference';
}

/** A GPU as a measurement names it. */
export interface GpuDescription {
  readonly name: string;
  readonly computeCapability: string | null;
  readonly memoryBytes: number | null;
  readonly driver: string | null;
}

/** The GPU that TensorFlow would run on; its name alone is open where the driver does not tell it. */
export async function describeGpu(options: GpuOptions = {}): Promise<GpuDescription> {
  const { gpus, driver } = await findGpus(options);
  const [gpu] = gpus;
  return {
    name: gpu?.name ?? 'unknown GPU',
    computeCapability: gpu?.computeCapability ?? null,
    memoryBytes: gpu?.memory ?? null,
    driver,
  };
}

/** Describes this machine and the running versions; starts TensorFlow where it is not running. */
export async function describeEnvironment(): Promise<Environment> {
  const { tensorflow, device, kernels } = await startTensorFlow();
  const processors = cpus();
  return {
    date: new Date().toISOString(),
    machine: {
      platform: `${process.platform} ${process.arch}`,
      cpu: processors[0]?.model.trim() ?? 'unknown',
      cores: processors.length,
      memoryBytes: totalmem(),
      threads: cpuThreads(),
      device,
      gpu: device === 'gpu' ? await describeGpu() : null,
    },
    versions: {
      sdaTfjs: packageVersion(),
      commit: await gitCommit(),
      node: process.versions.node,
      tfjs: tfjsVersion(),
      tensorflow,
    },
    kernels,
  };
}

/** CPU threads that TensorFlow gives to one operation: `TF_NUM_INTRAOP_THREADS`, else all cores it may use. */
export function cpuThreads(env: NodeJS.ProcessEnv = process.env): number {
  const asked = Number(env.TF_NUM_INTRAOP_THREADS);
  return Number.isInteger(asked) && asked > 0 ? asked : availableParallelism();
}

/** Largest resident size of this process so far. */
export function peakRssBytes(): number {
  return process.resourceUsage().maxRSS * 1024;
}

async function gitCommit(): Promise<string | null> {
  const cwd = packageRoot();
  if (!existsSync(join(cwd, '.git'))) return null;
  const args = ['describe', '--always', '--dirty', '--abbrev=12', '--exclude=*'];
  const result = await runProcess('git', args, { cwd });
  return result?.code === 0 ? result.stdout.trim() : null;
}
