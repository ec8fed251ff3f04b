import { existsSync } from 'node:fs';
import { availableParallelism, cpus, totalmem } from 'node:os';
import { join } from 'node:path';
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
