import { createHash, randomUUID } from 'node:crypto';
import { linkSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { basename, join } from 'node:path';
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

/**
 * Takes a folder for this process: of several writers exactly one gets it. The lock of a process that is gone is
 * succeeded: by a file that is named after it and what it says, so that it has one successor, whose own may follow.
 * Nothing is deleted to take a folder; whoever gives it back deletes `lock` first and the successors after it.
 *
 * @returns gives the folder back
 * @throws SdaError `bad-input` where another process has it, naming it; where the folder cannot be written
 */
export function lockFolder(dir: string): () => void {
  const root = join(dir, 'lock');
  const mine: Owner & { id: string } = {
    pid: process.pid,
    host: hostname(),
    since: new Date().toISOString(),
    started: startOf(process.pid),
    id: randomUUID(),
  };
  const text = `${JSON.stringify(mine)}\n`;
  const chain = [root]; // of processes that are gone, then mine
  let first = text; // what `lock` says
  while (!create(chain.at(-1)!, text)) {
    const found = readText(chain.at(-1)!);
    const owner = found === null ? null : parseOwner(found);
    if (found === null || (owner && isAlive(owner))) throw taken(dir, owner);
    if (chain.length === 1) first = found;
    chain.push(`${root}.${successorOf(basename(chain.at(-1)!), found)}`);
  }
  if (readText(root) !== first) {
    // a successor gave the folder back meanwhile, and another may have taken it
    rmSync(chain.at(-1)!, { force: true });
    throw taken(dir, null);
  }
  return () => {
    if (readText(root) !== first) return;
    for (const file of chain) rmSync(file, { force: true });
  };
}

function successorOf(file: string, text: string): string {
  return createHash('sha256').update(`${file}\n${text}`).digest('hex').slice(0, 16);
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
