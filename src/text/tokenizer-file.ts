import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { readTextFile } from '../checkpoint/json-file.js';
import { SdaError } from '../errors.js';

/** SentencePiece's file, of which Mistral names the versions of its own: tokenizer.model.v3, tokenizer.model.v7m1 */
export const SENTENCEPIECE_FILE = /^tokenizer\.model(\.v\d+(m\d+)?)?$/;

/** What else a folder without tokenizer.json may have instead. */
const OTHER_FORMS = ['vocab.json', 'tekken.json'];

/**
 * The text of a folder's tokenizer.json.
 * @throws SdaError `file-missing` where there is no tokenizer; `unsupported` where it is in another form;
 *   `bad-tokenizer` where the file cannot be one.
 */
export async function readTokenizerFile(dir: string): Promise<string> {
  const file = join(dir, 'tokenizer.json');
  const other = otherForm(dir);
  if (other === undefined || existsSync(file)) return readTextFile(file, 'bad-tokenizer');
  throw new SdaError(
    'unsupported',
    `${dir} has its tokenizer as ${other} where tokenizer.json is needed; run "npx sda import ${dir} --out DIR".`,
  );
}

function otherForm(dir: string): string | undefined {
  try {
    return readdirSync(dir).find(
      (name) => SENTENCEPIECE_FILE.test(name) || OTHER_FORMS.includes(name),
    );
  } catch {
    return undefined; // none, a file, or not to be listed: reading says which
  }
}
