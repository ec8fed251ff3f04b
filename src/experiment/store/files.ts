import {
  appendFileSync,
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  renameSync,
  rmSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { messageOf, SdaError } from '../../errors.js';

/** Writes a file whole or not at all, and to the disk before it takes its place; see `writing`. */
export function replaceFile(file: string, text: string, advice?: string): void {
  const draft = `${file}.draft`;
  const work = () => {
    mkdirSync(dirname(file), { recursive: true });
    const handle = openSync(draft, 'w');
    try {
      try {
        appendFileSync(handle, text);
        fsyncSync(handle);
      } finally {
        closeSync(handle);
      }
      renameSync(draft, file);
    } catch (error) {
      rmSync(draft, { force: true }); // it takes space
      throw error;
    }
  };
  writing(file, work, advice);
}

/**
 * @param advice what to do about it
 * @throws SdaError `bad-input` that names the file, in place of the system's error
 */
export function writing<T>(
  file: string,
  work: () => T,
  advice = 'give a folder that can be written, with space left',
): T {
  try {
    return work();
  } catch (error) {
    if (error instanceof SdaError) throw error;
    throw new SdaError(
      'bad-input',
      `The file ${file} cannot be written (${messageOf(error)}): ${advice}.`,
      { cause: error },
    );
  }
}
