import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { tokenizerFiles } from '../../../src/import/tokenizer/files.js';
import { loadTokenizer } from '../../../src/text/tokenizer.js';
import { temporaryFolder } from '../../checkpoint/build.js';
import { FOLDERS, readGolden } from '../../text/golden.js';
import { imported } from './imported.js';
import { modelProto, TYPE } from './model-proto.js';

const FOLDER = new Map(FOLDERS);
const published = (name: string) => {
  const dir = FOLDER.get(name)!;
  const read = (file: string) => readFileSync(join(dir, file), 'utf8');
  return { config: read('tokenizer_config.json'), tokenizer: JSON.parse(read('tokenizer.json')) };
};

/** The tokenizer.model of Llama 2, from its tokenizer.json: a piece's score falls with its id, spaces come last. */
function llama2(vocab: Readonly<Record<string, number>>): Uint8Array {
  const [bytesEnd, least] = [259, -1e9];
  const pieces = Object.entries(vocab).sort(([, a], [, b]) => a - b);
  return modelProto(
    pieces.map(([text, id]) => {
      if (id === 0) return { text, type: TYPE.unknown };
      if (id < bytesEnd) return { text, type: id < 3 ? TYPE.control : TYPE.byte };
      return { text, score: /^\u2581{2,}$/.test(text) ? least : bytesEnd - id };
    }),
    [
      [3, 2],
      [35, 1],
    ],
  );
}

it("makes Llama 2's tokenizer of its pieces: merges, and ids of the Python library", async () => {
  const { config, tokenizer } = published('llama2');
  const files = {
    'tokenizer.model': llama2(tokenizer.model.vocab),
    'tokenizer_config.json': config,
  };
  const made = await tokenizerFiles(await temporaryFolder(files));
  const model = made['tokenizer.json'].model as { merges: string[][]; vocab: object };
  expect(model.merges.map((merge) => merge.join(' '))).toEqual(tokenizer.model.merges);
  expect(model.vocab).toEqual(tokenizer.model.vocab);
  expect(made['tokenizer.json'].post_processor).toEqual(tokenizer.post_processor);
  expect(made['tokenizer.json'].decoder).toEqual(tokenizer.decoder);
  expect(made['tokenizer_config.json']).toEqual(JSON.parse(config));
  const loaded = await imported(files);
  const golden = readGolden('llama2');
  for (const { text, ids, special } of golden.encoded) {
    expect(loaded.encode(text, { addSpecialTokens: false }), JSON.stringify(text)).toEqual(ids);
    expect(loaded.encode(text), JSON.stringify(text)).toEqual(special);
  }
  for (const { ids, text, skipped } of golden.decoded) {
    expect(loaded.decode(ids), String(ids)).toBe(text);
    expect(loaded.decode(ids, { skipSpecialTokens: true }), String(ids)).toBe(skipped);
  }
});

it('makes the tokenizer of Qwen2.5 of its two files', async () => {
  const name = 'qwen2_5';
  const { config, tokenizer } = published(name);
  const { vocab, merges } = tokenizer.model;
  const lines = (merges as (string | string[])[]).map((merge) =>
    typeof merge === 'string' ? merge : merge.join(' '),
  );
  const loaded = await imported({
    'vocab.json': JSON.stringify(vocab),
    'merges.txt': `#version: 0.2\n${lines.join('\n')}\n`,
    'tokenizer_config.json': config,
  });
  const golden = readGolden(name);
  for (const { text, special } of golden.encoded) {
    expect(loaded.encode(text), JSON.stringify(text)).toEqual(special);
  }
  for (const { ids, text, skipped } of golden.decoded) {
    expect(loaded.decode(ids), String(ids)).toBe(text);
    expect(loaded.decode(ids, { skipSpecialTokens: true }), String(ids)).toBe(skipped);
  }
  const original = await loadTokenizer(FOLDER.get(name)!);
  expect(loaded.addedTokens).toEqual(original.addedTokens);
});
