import { join } from 'node:path';
import { SdaError } from '../errors.js';
import { packageRoot } from '../runtime/paths.js';
import { runProcess } from './process.js';
import type { Python } from './tools.js';

export interface UnpackOptions {
  readonly python: Python;
  /** A zip archive, such as a wheel. */
  readonly archive: string;
  /** Members whose names start with one of these are unpacked; each must match one at least. */
  readonly prefixes: readonly string[];
  readonly destination: string;
  readonly onProgress?: (doneBytes: number, totalBytes: number) => void;
}

/**
 * Unpacks a part of a zip archive by Python's `zipfile`, streaming, every CRC checked.
 *
 * @throws SdaError `setup` when the archive is damaged, lacks a prefix, or holds a name that would leave
 *   the destination (nothing is written then).
 */
export async function unpackArchive(options: UnpackOptions): Promise<void> {
  const script = join(packageRoot(), 'src', 'setup', 'unpack.py');
  const args = [script, options.archive, options.destination, ...options.prefixes];
  const result = await runProcess(options.python.command, args, {
    onLine: (line) => {
      const [done = 0, total = 0] = line.split(' ').map(Number);
      options.onProgress?.(done, total);
    },
  });
  if (result?.code === 0) return;
  const why = result?.stderr.trim().split('\n').at(-1) || `Python ended with ${result?.code}`;
  throw new SdaError(
    'setup',
    `${options.archive} cannot be unpacked (${why}): run the command again to fetch it anew.`,
  );
}
