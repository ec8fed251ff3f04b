import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { messageOf, SdaError } from '../errors.js';
import { isMissing } from './json-file.js';

/**
 * Opens a file of weights for reading.
 *
 * @param kind what is expected
 * @throws SdaError `file-missing`; `bad-file` where it is no regular file.
 */
export async function openFile(file: string, kind = 'a file of weights'): Promise<FileHandle> {
  let handle: FileHandle;
  try {
    // without waiting for a writer, where it is a named pipe
    handle = await open(file, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    throw new SdaError(
      'file-missing',
      isMissing(error)
        ? `${file} does not exist; download the checkpoint again.`
        : `${file} cannot be opened (${messageOf(error)}); check its permissions.`,
      { cause: error },
    );
  }
  if ((await handle.stat()).isFile()) return handle;
  await handle.close();
  throw new SdaError('bad-file', `${file} is not a regular file; give ${kind}.`);
}
