import { mkdir, readdir, rename, rm } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { isMissing } from '../checkpoint/json-file.js';
import { messageOf, SdaError } from '../errors.js';
import { removeAbandoned, temporaryName } from '../setup/cache.js';

/** @throws SdaError `bad-input` where there is something at `folder` already. */
export async function requireNew(folder: string): Promise<void> {
  try {
    if ((await readdir(folder)).length === 0) return;
  } catch (error) {
    if (isMissing(error) && (error as NodeJS.ErrnoException).code === 'ENOENT') return;
    throw cannotWrite(folder, error);
  }
  throw new SdaError(
    'bad-input',
    `${folder} is not empty, and nothing is overwritten; give a folder that does not exist yet, or remove it.`,
  );
}

/**
 * Makes a new folder by filling one beside it, which takes its name once it is whole. After an error or a stop nothing
 * is left; what a killed process left is removed by the next one for the same folder.
 * @throws SdaError `bad-input` where the folder cannot be made; what `fill` throws
 */
export async function fillNewFolder<T>(
  folder: string,
  fill: (temporary: string) => Promise<T>,
): Promise<T> {
  const place = resolve(folder);
  const temporary = temporaryName(place);
  try {
    await mkdir(dirname(place), { recursive: true });
    await removeAbandoned(place);
    await mkdir(temporary);
  } catch (error) {
    throw cannotWrite(folder, error);
  }
  try {
    const result = await fill(temporary);
    await rename(temporary, place).catch((error: unknown) => {
      throw cannotWrite(folder, error);
    });
    return result;
  } finally {
    await rm(temporary, { recursive: true, force: true });
  }
}

function cannotWrite(folder: string, error: unknown): SdaError {
  return new SdaError(
    'bad-input',
    `${folder} cannot be made (${messageOf(error)}); give another folder for the model.`,
    { cause: error },
  );
}
