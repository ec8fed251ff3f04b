import { createHash, randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { z } from 'zod';
import { SdaError } from '../errors.js';
import { cacheRoot } from '../runtime/paths.js';

/** The file that says a cached folder is whole; it is the last thing written into it. */
export const COMPLETE_MARKER = 'complete.json';

const markerSchema = z.object({
  builtAt: z.string(),
  /** What the content was made from, where the folder's name does not say it. */
  key: z.string(),
  /** Path within the folder -> bytes. */
  files: z.record(z.string(), z.number().int().nonnegative()),
});

/** What the marker of a complete folder says. */
export type CompleteFolder = z.infer<typeof markerSchema>;

/** The marker of `folder`, or `undefined` when the folder is absent, unfinished, damaged or of another key. */
export async function readComplete(folder: string, key = ''): Promise<CompleteFolder | undefined> {
  try {
    const text = await readFile(join(folder, COMPLETE_MARKER), 'utf8');
    const marker = markerSchema.parse(JSON.parse(text));
    if (marker.key !== key) return undefined;
    for (const [file, bytes] of Object.entries(marker.files)) {
      if ((await stat(join(folder, file))).size !== bytes) return undefined;
    }
    return marker;
  } catch {
    return undefined;
  }
}

export interface FillOptions {
  /** See `CompleteFolder.key`. */
  readonly key?: string;
  /** Replaces a complete folder too. */
  readonly replace?: boolean;
}

/**
 * Makes `folder` by filling a temporary folder beside it, writing the marker last and renaming the whole:
 * an interrupted run leaves nothing that `readComplete` trusts, and of two runs side by side one wins whole.
 *
 * @param fill writes into the folder it is given and returns the files (relative) whose sizes the marker
 *   records and `readComplete` checks.
 */
export async function fillFolder(
  folder: string,
  fill: (temporary: string) => Promise<readonly string[]>,
  options: FillOptions = {},
): Promise<CompleteFolder> {
  const temporary = temporaryName(folder);
  try {
    await mkdir(dirname(folder), { recursive: true });
    await removeAbandoned(folder);
    await mkdir(temporary);
  } catch (error) {
    throw cannotWrite(dirname(folder), error);
  }
  try {
    const files: Record<string, number> = {};
    for (const file of await fill(temporary))
      files[file] = (await stat(join(temporary, file))).size;
    const marker: CompleteFolder = {
      builtAt: new Date().toISOString(),
      key: options.key ?? '',
      files,
    };
    await writeFile(join(temporary, COMPLETE_MARKER), `${JSON.stringify(marker, null, 2)}\n`);
    return await moveIntoPlace(temporary, folder, marker, options.replace ?? false);
  } finally {
    await rm(temporary, { recursive: true, force: true });
  }
}

/** That a folder cannot be written, and what helps. */
export function cannotWrite(folder: string, error: unknown): SdaError {
  const why = error instanceof Error ? error.message.split(',', 1)[0] : String(error);
  const elsewhere = folder.startsWith(cacheRoot())
    ? ', or set SDA_CACHE_DIR to a folder that is'
    : '';
  return new SdaError(
    'setup',
    `The folder ${folder} cannot be written (${why}): make it writable${elsewhere}.`,
  );
}

async function moveIntoPlace(
  temporary: string,
  folder: string,
  marker: CompleteFolder,
  replace: boolean,
): Promise<CompleteFolder> {
  for (let attempt = 0; ; attempt++) {
    try {
      await rename(temporary, folder);
      return marker;
    } catch (error) {
      const other = await readComplete(folder, marker.key);
      if (other && !replace) return other;
      if (attempt === 2 || !existsSync(folder)) throw error;
      const old = temporaryName(folder);
      await rename(folder, old);
      await rm(old, { recursive: true, force: true });
    }
  }
}

/** Writes a file whole or not at all, by a temporary file and a rename. Leaves an equal file alone. */
export async function replaceFile(path: string, content: Uint8Array | string): Promise<void> {
  const bytes = Buffer.from(content);
  if (existsSync(path) && bytes.equals(await readFile(path))) return;
  await mkdir(dirname(path), { recursive: true });
  const temporary = temporaryName(path);
  try {
    await writeFile(temporary, bytes);
    await rename(temporary, path);
  } finally {
    await rm(temporary, { force: true });
  }
}

/** A short key that changes when any of the parts does. */
export function cacheKey(parts: Readonly<Record<string, unknown>>): string {
  const sorted = Object.entries(parts).sort(([a], [b]) => (a < b ? -1 : 1));
  return createHash('sha256').update(JSON.stringify(sorted)).digest('hex').slice(0, 20);
}

export function temporaryName(path: string): string {
  const unique = `${hostname()}-${process.pid}-${randomBytes(4).toString('hex')}`;
  return `${path}.tmp-${unique}`;
}

/** Removes temporary folders of runs on this machine that are no longer alive. */
export async function removeAbandoned(folder: string): Promise<void> {
  const prefix = `${basename(folder)}.tmp-${hostname()}-`;
  for (const name of await readdir(dirname(folder))) {
    if (!name.startsWith(prefix)) continue;
    const pid = Number(name.slice(prefix.length).split('-', 1)[0]);
    if (isAlive(pid)) continue;
    await rm(join(dirname(folder), name), { recursive: true, force: true });
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
