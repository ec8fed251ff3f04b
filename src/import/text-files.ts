import { copyFile, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { messageOf, SdaError } from '../errors.js';
import { SENTENCEPIECE_FILE } from '../text/tokenizer-file.js';
import type { JsonFiles } from './source.js';
import { tokenizerFiles } from './tokenizer/files.js';

/** What a tokenizer and a chat template are made of, and the licence. */
const COPIED =
  /^(tokenizer|tokenizer_config|special_tokens_map|added_tokens|vocab|chat_template|tekken)\.json$|^(merges\.txt|LICEN[CS]E(\.\w+)?)$|\.jinja$/;

/**
 * Copies the files of tokenizer and chat template as they are, and says what must be written beside or over them:
 * tokenizer.json where there is none.
 * @returns the files to write, and warnings
 */
export async function copyTextFiles(
  from: string,
  to: string,
): Promise<{ readonly made: JsonFiles; readonly warnings: readonly string[] }> {
  const names = (await readdir(from)).filter(
    (name) => COPIED.test(name) || SENTENCEPIECE_FILE.test(name),
  );
  for (const name of names) {
    if ((await stat(join(from, name))).isFile()) await copyFile(join(from, name), join(to, name));
  }
  if (names.includes('tokenizer.json')) return { made: {}, warnings: [] };
  try {
    return { made: { ...(await tokenizerFiles(from)) }, warnings: [] };
  } catch (error) {
    if (!(error instanceof SdaError) || error.code !== 'file-missing') throw error;
    return { made: {}, warnings: [`The imported model takes token ids only: ${messageOf(error)}`] };
  }
}
