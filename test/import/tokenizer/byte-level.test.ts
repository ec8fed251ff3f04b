import { describe, expect, it } from 'vitest';
import { byteLevelFiles, golden } from './golden.js';
import { imported } from './imported.js';

const files = byteLevelFiles();
const folder = (config: object) => ({ ...files, 'tokenizer_config.json': JSON.stringify(config) });

describe('vocab.json and merges.txt', () => {
  let first: readonly number[][] = [];
  const cases = golden['byte-level'].map((one) => {
    first = one.ids ?? first;
    const ids = first.map((text, i) => one.changed?.[i] ?? text);
    return [JSON.stringify(one.config), one.config, ids] as const;
  });

  it.each(cases)('have the ids of transformers with %s', async (_, config, expected) => {
    const tokenizer = await imported(folder(config));
    for (const [i, text] of golden.texts.entries()) {
      const ids = tokenizer.encode(text);
      expect(ids, JSON.stringify(text)).toEqual(expected[i]);
      if (text.normalize('NFC') !== text) continue;
      expect(tokenizer.decode(ids, { skipSpecialTokens: true })).toBe(
        withoutSpecial(text, tokenizer),
      );
    }
  });

  it('take the class from the model where none is named', async () => {
    const named = await imported(folder({ tokenizer_class: 'Qwen2Tokenizer' }));
    const found = await imported({ ...files, 'config.json': '{"model_type": "qwen2"}' });
    for (const text of golden.texts) expect(found.encode(text)).toEqual(named.encode(text));
  });

  it.each([
    [{ 'vocab.json': '[]' }, 'vocab.json cannot be used'],
    [{ 'vocab.json': '{"a": -1}' }, 'the id of "a" is -1'],
    [{ 'vocab.json': '{"a": 1, "b": 1}' }, '"a" and "b" have the same id 1'],
    [{ 'merges.txt': 'a b c\n' }, 'line 1 has not two tokens'],
    [{ 'merges.txt': '#version: 0.2\n\na\n' }, 'line 3 has not two tokens'],
    [{ 'merges.txt': 'h zz\n' }, 'line 1 needs the token "zz"'],
    [
      { 'tokenizer_config.json': '{"tokenizer_class": "BloomTokenizerFast"}' },
      '"BloomTokenizerFast"',
    ],
    [{ 'config.json': '{"model_type": "bloom"}' }, '"bloom"'],
    [{ 'added_tokens.json': '{"h": 5000}' }, 'the token "h" with the ids'],
    [
      { 'tokenizer_config.json': '{"tokenizer_class": "GPT2Tokenizer", "add_prefix_space": true}' },
      'puts another space before a text',
    ],
    [
      { 'tokenizer_config.json': '{"tokenizer_class": "Qwen2Tokenizer", "add_bos_token": true}' },
      'name it there, or set add_bos_token to false',
    ],
  ])('are refused where %j', async (changes, message) => {
    const model = { 'config.json': '{"model_type": "qwen2"}' };
    await expect(imported({ ...files, ...model, ...changes })).rejects.toThrow(message);
  });
});

/** A text without the special tokens that stand in it. */
function withoutSpecial(
  text: string,
  { addedTokens }: { addedTokens: readonly { content: string; special: boolean }[] },
): string {
  return addedTokens
    .filter(({ special }) => special)
    .reduce((rest, { content }) => rest.replaceAll(content, ''), text);
}
