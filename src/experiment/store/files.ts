import { closeSync, fsyncSync, mkdirSync, openSync, renameSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { messageOf, SdaError } from '../../errors.js';

/** Writes a file whole or not at all, and to the disk before it takes its place. */
export function replaceFile(file: string, text: string): void {
  const draft = `${file}.draft`;
  writing(file, () => {
    mkdirSync(dirname(file), { recursive: true });
    const handle = openSync(draft, 'w');
    try {
      writeAll(handle, text);
      fsyncSync(handle);
    } finally {
      closeSync(handle);
    }
    renameSync(draft, file);
  });
}

/** One line at a file's end, by one call. */
export function writeAll(handle: number, text: string): void {
  const bytes = Buffer.from(text);
  for (let done = 0; done < bytes.length; ) {
    done += writeSync(handle, bytes, done);
  }
}

/** @throws SdaError `bad-input` that names the file, in place of the system's error */
export function writing<T>(file: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (error instanceof SdaError) throw error;
    throw new SdaError(
      'bad-input',
      `The file ${file} cannot be written (${messageOf(error)}): give a folder that can be written, with space left.`,
      { cause: error },
    );
  }
}
