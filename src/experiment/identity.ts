import { createHash } from 'node:crypto';
import { describeEnvironment } from '../bench/environment.js';
import { type AdapterSource, adapterFingerprint } from '../checkpoint/adapter/merge.js';
import { checkpointFingerprint } from '../checkpoint/fingerprint.js';
import type { RunSession } from './rows.js';

/**
 * Tells models apart: a checkpoint with the adapters that are merged into it.
 *
 * @throws SdaError where a file of them cannot be read
 */
export async function modelFingerprint(
  dir: string,
  adapters: readonly AdapterSource[] = [],
): Promise<string> {
  const own = await checkpointFingerprint(dir);
  if (adapters.length === 0) return own;
  const hash = createHash('sha256').update(own);
  for (const adapter of adapters) hash.update(await adapterFingerprint(adapter));
  return hash.digest('hex').slice(0, 16);
}

/** Now, here, with what is installed. Starts TensorFlow where it is not running. */
export async function describeSession(options: RunSession['options']): Promise<RunSession> {
  const { date, machine, versions, kernels } = await describeEnvironment();
  const { commit, ...numbers } = versions;
  const memory = Math.round(machine.memoryBytes / 2 ** 30);
  return {
    at: date,
    versions: { ...numbers, kernels },
    machine: `${machine.cpu}, ${machine.cores} cores, ${memory} GiB, ${machine.platform}, ${machine.device}`,
    git: commit,
    options,
  };
}
