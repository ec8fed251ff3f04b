import {
  appendFileSync,
  closeSync,
  constants,
  fstatSync,
  ftruncateSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
} from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { tryLock } from 'fs-native-extensions';
import { z } from 'zod';
import { messageOf, SdaError } from '../../errors.js';
import { writing } from './files.js';

const ownerSchema = z.object({
  pid: z.int().positive(),
  host: z.string(),
  /** ISO 8601 */
  since: z.string(),
});

/**
 * Takes a folder for this process by the kernel's lock of its file `lock`: of several writers exactly one gets it, also
 * of containers that share the folder. The kernel gives it back when the process ends, however it ends; what the file
 * says is for people.
 *
 * @returns gives the folder back
 * @throws SdaError `bad-input` where another process has it, naming it; where the folder cannot be written, or its file
 *   system has no locks
 */
export function lockFolder(dir: string): () => void {
  const file = join(dir, 'lock');
  const handle = openLocked(dir, file);
  const release = () => {
    // while it is locked: later, the name could be another's file
    if (isNamed(handle, file)) rmSync(file, { force: true });
    closeSync(handle);
  };
  try {
    writing(file, () => {
      ftruncateSync(handle);
      const owner = { pid: process.pid, host: hostname(), since: new Date().toISOString() };
      appendFileSync(handle, `${JSON.stringify(owner)}\n`);
    });
  } catch (error) {
    release();
    throw error;
  }
  return release;
}

/** A descriptor of the file that has this name while it is locked. */
function openLocked(dir: string, file: string): number {
  for (;;) {
    const handle = writing(file, () => openSync(file, constants.O_RDWR | constants.O_CREAT));
    try {
      if (!locked(handle, dir)) throw taken(dir, file);
      // whoever had it may have deleted it since it was opened
      if (isNamed(handle, file)) return handle;
    } catch (error) {
      closeSync(handle);
      throw error;
    }
    closeSync(handle);
  }
}

function locked(handle: number, dir: string): boolean {
  try {
    return tryLock(handle);
  } catch (error) {
    throw new SdaError(
      'bad-input',
      `The folder ${dir} is on a file system that has no locks (${messageOf(error)}), so that two processes could write one run: give a folder on another with --out.`,
      { cause: error },
    );
  }
}

function isNamed(handle: number, file: string): boolean {
  const open = fstatSync(handle, { bigint: true });
  const named = statSync(file, { bigint: true, throwIfNoEntry: false });
  return named?.ino === open.ino && named.dev === open.dev;
}

function taken(dir: string, file: string): SdaError {
  const owner = readOwner(file);
  const who = owner
    ? `process ${owner.pid} on ${owner.host} since ${owner.since}`
    : 'another process';
  return new SdaError(
    'bad-input',
    `The run in ${dir} is being written by ${who}: wait for it, or end it.`,
  );
}

function readOwner(file: string): z.infer<typeof ownerSchema> | null {
  try {
    return ownerSchema.parse(JSON.parse(readFileSync(file, 'utf8')));
  } catch {
    return null;
  }
}
