import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { tokenizerFiles } from '../../../src/import/tokenizer/files.js';
import { loadTokenizer, type Tokenizer } from '../../../src/text/tokenizer.js';
import { temporaryFolder } from '../../checkpoint/build.js';

/** Loads the tokenizer that is made of a folder with these files. */
export async function imported(
  files: Readonly<Record<string, string | Uint8Array>>,
): Promise<Tokenizer> {
  const made = await tokenizerFiles(await temporaryFolder(files));
  const folder = await temporaryFolder();
  for (const [name, json] of Object.entries(made)) {
    await writeFile(join(folder, name), JSON.stringify(json));
  }
  return loadTokenizer(folder);
}
