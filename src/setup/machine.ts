import { readdirSync } from 'node:fs';
import type { Machine } from './plan.js';
import { runProcess } from './process.js';

/** Names of the NVIDIA GPUs that this process can see; empty when there are none. */
export async function visibleGpus(env: NodeJS.ProcessEnv = process.env): Promise<string[]> {
  if (env.CUDA_VISIBLE_DEVICES === '' || env.CUDA_VISIBLE_DEVICES === '-1') return [];
  const query = ['--query-gpu=name,memory.total', '--format=csv,noheader'];
  const smi = await runProcess('nvidia-smi', query, { env });
  if (smi?.code === 0) return smi.stdout.split('\n').filter((line) => line.trim() !== '');
  try {
    return readdirSync('/proc/driver/nvidia/gpus').map((bus) => `NVIDIA GPU at ${bus}`);
  } catch {
    return [];
  }
}

/** This machine, as the plan sees it. */
export async function thisMachine(env: NodeJS.ProcessEnv = process.env): Promise<Machine> {
  const { platform, arch } = process;
  return { platform, arch, libc: libc(), gpu: (await visibleGpus(env)).length > 0 };
}

function libc(): Machine['libc'] {
  if (process.platform !== 'linux') return 'none';
  const { header } = process.report.getReport() as { header: { glibcVersionRuntime?: string } };
  return header.glibcVersionRuntime ? 'glibc' : 'musl';
}
