import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { tokenizerFiles } from '../../../src/import/tokenizer/files.js';
import { temporaryFolder } from '../../checkpoint/build.js';
import { fixture, golden } from '../fixtures.js';
import { imported } from './imported.js';

const json = readFileSync(fixture('tokenizer', 'tekken.json'), 'utf8');
const cases = golden<{ text: string; ids: number[] }[]>('tokenizer', 'tekken-golden.json');

interface Tekken {
  config: Record<string, unknown>;
  vocab: { rank: number; token_bytes: string }[];
  special_tokens?: { rank: number; token_str: string }[];
}
const changed = (change: (tekken: Tekken) => void) => {
  const tekken = JSON.parse(json) as Tekken;
  change(tekken);
  return imported({ 'tekken.json': JSON.stringify(tekken) });
};

describe('tekken.json', () => {
  it('has the ids of mistral-common', async () => {
    const tokenizer = await imported({ 'tekken.json': json });
    for (const { text, ids } of cases) {
      const segments = [{ text, literal: true }];
      expect(tokenizer.encodeSegments(segments), JSON.stringify(text)).toEqual(ids.slice(1));
      expect(tokenizer.decode(ids, { skipSpecialTokens: true })).toBe(text);
    }
    expect([tokenizer.bosTokenId, tokenizer.eosTokenId, tokenizer.size]).toEqual([1, 2, 610]);
    expect(tokenizer.tokenText(9)).toBe('<SPECIAL_9>');
  });

  it('finds special tokens in a text, and begins it with one', async () => {
    const tokenizer = await imported({ 'tekken.json': json });
    const [hi] = cases.filter(({ text }) => text === 'a');
    expect(tokenizer.encode('[INST]a[/INST]')).toEqual([1, 3, ...hi!.ids.slice(1), 4]);
  });

  it('leaves what tokenizer_config.json says, its template among it', async () => {
    const config = '{"chat_template": "x", "add_bos_token": true}';
    const files = { 'tekken.json': json, 'tokenizer_config.json': config };
    const made = await tokenizerFiles(await temporaryFolder(files));
    expect(made['tokenizer_config.json']).toMatchObject({ chat_template: 'x', bos_token: '<s>' });
  });

  it('of an older version has the special tokens of that', async () => {
    const tokenizer = await changed((tekken) => {
      delete tekken.special_tokens;
      tekken.config.default_num_special_tokens = 20;
      tekken.config.default_vocab_size = 620;
    });
    expect(tokenizer.tokenText(17)).toBe('[SYSTEM_PROMPT]');
    expect(tokenizer.encode('a')).toEqual([1, 20 + 'a'.charCodeAt(0)]);
  });

  it.each([
    ['no pattern', (t: Tekken) => delete t.config.pattern, 'config.pattern'],
    ['a rank that is another', (t: Tekken) => (t.vocab[7]!.rank = 8), 'its token 7 has the rank 8'],
    ['a token twice', (t: Tekken) => (t.vocab[300]!.token_bytes = 'YQ=='), 'a token stands twice'],
    ['bytes that are none', (t: Tekken) => (t.vocab[3]!.token_bytes = '?'), 'token_bytes'],
    [
      'more room than tokens',
      (t: Tekken) => (t.config.default_vocab_size = 9999),
      '640 tokens where its sizes leave room for 9989',
    ],
    [
      'more special tokens than it says',
      (t: Tekken) => (t.config.default_num_special_tokens = 3),
      '6 special tokens where it names 3',
    ],
    [
      'special tokens with a gap',
      (t: Tekken) => (t.special_tokens![5]!.rank = 7),
      'ranks of special_tokens',
    ],
    [
      'a special token twice',
      (t: Tekken) => (t.special_tokens![5]!.token_str = '<s>'),
      'a special token stands twice',
    ],
  ])('with %s is refused', async (_, change, message) => {
    await expect(changed(change)).rejects.toThrow(message);
    await expect(changed(change)).rejects.toMatchObject({ code: 'bad-tokenizer' });
  });
});

it("Mistral's numbered SentencePiece models are read, the newest of several", async () => {
  const model = readFileSync(fixture('tokenizer', 'bpe.model'));
  const other = readFileSync(fixture('tokenizer', 'unigram.model'));
  const plain = await imported({ 'tokenizer.model': model });
  const numbered = await imported({ 'tokenizer.model.v3': model, 'tokenizer.model.v1': other });
  const text = cases.map((one) => one.text).join(' ');
  expect(numbered.encode(text)).toEqual(plain.encode(text));
});
