import { existsSync } from 'node:fs';
import { statfs } from 'node:fs/promises';
import { dirname } from 'node:path';
import { SdaError } from '../errors.js';
import { formatBytes } from './report.js';

/** The path, or the folder above it that is there, where it does not exist yet. */
export function nearestExisting(path: string): string {
  let existing = path;
  while (!existsSync(existing)) existing = dirname(existing);
  return existing;
}

/** Bytes free for this user on the disk that holds `path`, which need not exist yet. */
export async function freeBytes(path: string): Promise<number> {
  const disk = await statfs(nearestExisting(path));
  return disk.bavail * disk.bsize;
}

/**
 * Checks that a disk has room.
 *
 * @param what what the room is for, as it stands in the message.
 * @throws SdaError `setup` with the bytes needed and found.
 */
export async function requireDisk(path: string, needed: number, what: string): Promise<void> {
  const found = await freeBytes(path);
  if (found >= needed) return;
  throw new SdaError(
    'setup',
    `${what} needs ${formatBytes(needed)} of free disk at ${path}, found ${formatBytes(found)}: free some, or set SDA_CACHE_DIR to a folder on another disk.`,
  );
}
