import { findGpus } from '../runtime/gpu.js';
import type { Machine } from './plan.js';

/** This machine, as the plan sees it. */
export async function thisMachine(env: NodeJS.ProcessEnv = process.env): Promise<Machine> {
  const { platform, arch } = process;
  return { platform, arch, libc: libc(), gpu: (await findGpus({ env })).gpus.length > 0 };
}

function libc(): Machine['libc'] {
  if (process.platform !== 'linux') return 'none';
  const { header } = process.report.getReport() as { header: { glibcVersionRuntime?: string } };
  return header.glibcVersionRuntime ? 'glibc' : 'musl';
}
