import { randomUUID } from 'node:crypto';
import { linkSync, readFileSync, rmSync, statSync, unlinkSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import { messageOf, SdaError } from '../../errors.js';

const ownerSchema = z.object({
  pid: z.int().positive(),
  host: z.string(),
  /** ISO 8601 */
  since: z.string(),
  /** Start time of the process in clock ticks, where the system tells it: a pid alone may be another's by now */
  started: z.string().nullable(),
});
type Owner = z.infer<typeof ownerSchema>;

/** A guard file older than this was left by a process that died within its few microseconds. */
const GUARD_MS = 10_000;

/**
 * Takes a folder for this process: of several writers exactly one gets it. The lock of a process that is gone is
 * taken over.
 *
 * @returns gives the folder back
 * @throws SdaError `bad-input` where another process has it, naming it; where the folder cannot be written
 */
export function lockFolder(dir: string): () => void {
  const file = join(dir, 'lock');
  const mine: Owner = {
    pid: process.pid,
    host: hostname(),
    since: new Date().toISOString(),
    started: startOf(process.pid),
  };
  const text = `${JSON.stringify(mine)}\n`;
  const release = () => {
    if (readText(file) === text) rmSync(file, { force: true });
  };
  if (create(file, text)) return release;
  const guard = `${file}.takeover`;
  if (!create(guard, text)) {
    if (Date.now() - (modifiedAt(guard) ?? Date.now()) > GUARD_MS) rmSync(guard, { force: true });
    throw taken(dir, null);
  }
  try {
    const found = readText(file);
    const owner = found === null ? null : parseOwner(found);
    if (owner && isAlive(owner)) throw taken(dir, owner);
    if (found !== null) unlinkSync(file);
    if (create(file, text)) return release;
    throw taken(dir, null);
  } finally {
    rmSync(guard, { force: true });
  }
}

/** Makes a file with its whole content, or none; false where there is one. */
function create(file: string, text: string): boolean {
  const draft = `${file}.${process.pid}-${randomUUID()}`;
  try {
    writeFileSync(draft, text, { flag: 'wx' });
    linkSync(draft, file);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw new SdaError(
      'bad-input',
      `The file ${file} cannot be written (${messageOf(error)}): give a folder that can be written, with space left.`,
      { cause: error },
    );
  } finally {
    rmSync(draft, { force: true });
  }
}

function taken(dir: string, owner: Owner | null): SdaError {
  const who = owner
    ? `process ${owner.pid} on ${owner.host} since ${owner.since}`
    : 'another process';
  return new SdaError(
    'bad-input',
    `The run in ${dir} is being written by ${who}: wait for it, or end it; if it is not there any more, delete ${join(dir, 'lock')}.`,
  );
}

function isAlive({ pid, host, started }: Owner): boolean {
  if (host !== hostname()) return true; // cannot be told from here
  try {
    process.kill(pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false;
  }
  const now = startOf(pid);
  return now === null || started === null || now === started;
}

/** Field 22 of /proc/PID/stat; null where there is none. A zombie has ended. */
function startOf(pid: number): string | null {
  const fields = readText(`/proc/${pid}/stat`)
    ?.replace(/^.*\) /s, '')
    .split(' ');
  if (!fields) return null;
  return fields[0] === 'Z' ? 'ended' : (fields[19] ?? null);
}

function parseOwner(text: string): Owner | null {
  try {
    return ownerSchema.parse(JSON.parse(text));
  } catch {
    return null;
  }
}

function readText(file: string): string | null {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return null;
  }
}

function modifiedAt(file: string): number | null {
  try {
    return statSync(file).mtimeMs;
  } catch {
    return null;
  }
}
