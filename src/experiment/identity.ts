import { createHash } from 'node:crypto';
import { open, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { describeEnvironment } from '../bench/environment.js';
import { messageOf, SdaError } from '../errors.js';
import type { RunSession } from './rows.js';

/** Files of a checkpoint that decide what it says; of the weights only the header and the size are read. */
const DECIDING = /^(config|generation_config|tokenizer|tokenizer_config)\.json$|\.jinja$/;
const MOST_HEADER = 100e6;

/**
 * A short SHA-256 that tells checkpoints apart without reading their weights.
 *
 * @throws SdaError `file-missing` where the folder cannot be read
 */
export async function modelFingerprint(dir: string): Promise<string> {
  try {
    const hash = createHash('sha256');
    for (const name of (await readdir(dir)).sort()) {
      const weights = name.endsWith('.safetensors');
      if (!weights && !DECIDING.test(name)) continue;
      const file = await open(join(dir, name));
      try {
        const { size } = await file.stat();
        const { buffer } = await file.read(Buffer.alloc(8), 0, 8, 0);
        const header = weights ? 8 + Number(buffer.readBigUInt64LE()) : size;
        const length = Math.min(header, size, MOST_HEADER);
        const { buffer: bytes } = await file.read(Buffer.alloc(length), 0, length, 0);
        hash.update(JSON.stringify([name, size])).update(bytes);
      } finally {
        await file.close();
      }
    }
    return hash.digest('hex').slice(0, 16);
  } catch (error) {
    throw new SdaError(
      'file-missing',
      `The model folder ${dir} cannot be read (${messageOf(error)}): give a Hugging Face folder.`,
      { cause: error },
    );
  }
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
