import { describe, expect, it } from 'vitest';
import { tokenizerFiles } from '../../../src/import/tokenizer/files.js';
import { temporaryFolder } from '../../checkpoint/build.js';
import { modelBytes } from './golden.js';
import { imported } from './imported.js';
import { message, modelProto, type PieceFields, TYPE } from './model-proto.js';

const SPECIAL: readonly PieceFields[] = [
  { text: '<unk>', type: TYPE.unknown },
  { text: '<s>', type: TYPE.control },
  { text: '</s>', type: TYPE.control },
];
const PIECES: readonly PieceFields[] = [
  ...SPECIAL,
  { text: 'ab', score: -1 },
  ...['\u2581', 'a', 'b'].map((text, i) => ({ text, score: -10 - i })),
];
const model = modelProto(PIECES);

describe('files beside a tokenizer.model', () => {
  it('are not needed: it is Llama', async () => {
    const tokenizer = await imported({ 'tokenizer.model': model });
    expect(tokenizer.encode('ab a')).toEqual([1, 4, 3, 4, 5]);
    expect([tokenizer.bosTokenId, tokenizer.eosTokenId]).toEqual([1, 2]);
    expect(tokenizer.specialTokenIds).toEqual(new Set([0, 1, 2]));
  });

  it('add tokens, in the older form', async () => {
    const tokenizer = await imported({
      'tokenizer.model': model,
      'added_tokens.json': '{"<a>": 7, "[PAD]": 8}',
      'special_tokens_map.json':
        '{"pad_token": "[PAD]", "additional_special_tokens": ["<a>", {"content": "<b>"}]}',
    });
    expect(tokenizer.encode('a<a>[PAD]<b>', { addSpecialTokens: false })).toEqual([4, 5, 7, 8, 9]);
    expect(tokenizer.specialTokenIds).toEqual(new Set([0, 1, 2, 7, 8, 9]));
  });

  it('rename pieces', async () => {
    const tokenizer = await imported({
      'tokenizer.model': model,
      'tokenizer_config.json': JSON.stringify({
        bos_token: '<|start|>',
        added_tokens_decoder: { 1: { content: '<|start|>', special: true } },
      }),
    });
    expect(tokenizer.encode('<|start|>a')).toEqual([1, 1, 4, 5]);
    expect(tokenizer.bosTokenId).toBe(1);
    expect(tokenizer.tokenText(1)).toBe('<|start|>');
  });

  it('choose whether a text begins with a space', async () => {
    const ids = async (config: object, bytes = model) => {
      const files = { 'tokenizer.model': bytes, 'tokenizer_config.json': JSON.stringify(config) };
      return (await imported(files)).encode('a<s>a', { addSpecialTokens: false });
    };
    expect(await ids({})).toEqual([4, 5, 1, 4, 5]);
    expect(await ids({ legacy: null })).toEqual([4, 5, 1, 4, 5]);
    expect(await ids({ legacy: false })).toEqual([4, 5, 1, 5]);
    expect(await ids({ add_prefix_space: false })).toEqual([5, 1, 5]);
    const bare = modelProto(
      PIECES,
      [[3, 2]],
      [
        [3, 0],
        [4, 0],
      ],
    );
    expect(await ids({}, bare)).toEqual([5, 1, 5]);
    expect(await ids({ legacy: false }, bare)).toEqual([4, 5, 1, 5]);
  });

  it('may take a role of the class away', async () => {
    const config = { eos_token: null, pad_token: null, add_bos_token: false };
    const tokenizer = await imported({
      'tokenizer.model': modelProto([SPECIAL[0]!, ...PIECES.slice(3)]),
      'tokenizer_config.json': JSON.stringify({ ...config, bos_token: null }),
    });
    expect([tokenizer.bosTokenId, tokenizer.eosTokenId]).toEqual([null, null]);
    expect(tokenizer.specialTokenIds).toEqual(new Set([0]));
  });

  it('keep what else they say', async () => {
    const dir = await temporaryFolder({
      'tokenizer.model': model,
      'tokenizer_config.json': '{"chat_template": "x", "model_max_length": 7, "legacy": false}',
    });
    const { 'tokenizer_config.json': config } = await tokenizerFiles(dir);
    expect(config).toMatchObject({ chat_template: 'x', model_max_length: 7, legacy: false });
    expect(config).toMatchObject({ tokenizer_class: 'LlamaTokenizer', eos_token: '</s>' });
  });
});

it('finds control pieces as special tokens, but not in a literal text', async () => {
  const tokenizer = await imported({ 'tokenizer.model': modelBytes('bpe-own') });
  expect(tokenizer.encode('[INST]')).toEqual([1, 4]);
  expect(tokenizer.encodeSegments([{ text: '<sep><s>', literal: true }])).not.toContain(1);
});

const utf8 = (text: string) => new TextEncoder().encode(text);
const piece = (fields: PieceFields) => modelProto([...SPECIAL, fields]);
describe('refuses', () => {
  it.each([
    ['an empty file', new Uint8Array(), 'it ends before its settings'],
    ['a cut one', model.subarray(0, 25), 'bytes where'],
    ['one cut between pieces', model.subarray(0, 30), 'it ends before its settings'],
    ['no unknown piece', modelProto([{ text: 'x' }]), 'no piece stands for unknown text'],
    ['a text', utf8('hello world'), 'is not a SentencePiece model'],
    ['the vocabulary of tiktoken', utf8('IQ== 0\nIg== 1\n'), 'a vocabulary of tiktoken'],
    ['a pointer', utf8('version https://git-lfs.github.com/spec/v1\noid'), 'git lfs pull'],
    ['a length beyond the file', Uint8Array.from([10, 255, 255, 255, 127]), 'bytes where'],
    ['an endless number', new Uint8Array(20).fill(255), 'more than 10 bytes'],
    ['a group', Uint8Array.from([11, 1]), 'the wire type 3'],
    ['a field 0', Uint8Array.from([0, 1]), 'has the number 0'],
    ['pieces that are numbers', message([[1, 5]]), 'field 1 is a number'],
    ['a piece twice', modelProto([...PIECES, { text: 'ab' }]), '"ab" is a piece twice'],
    ['a piece without text', piece({ text: '' }), 'piece 3 has no text'],
    ['a piece that is not UTF-8', piece({ text: Uint8Array.of(255) }), 'not UTF-8'],
    ['a long piece', piece({ text: 'a'.repeat(5000) }), 'piece 3 has 5000 bytes'],
    ['a score that is no number', piece({ text: 'x', score: Number.NaN }), 'the score NaN'],
    ['another type', piece({ text: 'x', type: 9 }), 'piece 3 is none'],
    ['two unknown pieces', piece({ text: 'x', type: TYPE.unknown }), 'two pieces are unknown'],
    ['unused pieces', piece({ text: 'x', type: TYPE.unused }), 'the unused piece "x"'],
    [
      'missing bytes',
      modelProto(PIECES, [
        [3, 2],
        [35, 1],
      ]),
      'it has no piece <0x00>',
    ],
    ['words', modelProto(PIECES, [[3, 3]]), 'of type word'],
    ['a type without a name', modelProto(PIECES, [[3, 7]]), 'of type 7'],
    [
      'spaces behind words',
      modelProto(PIECES, [
        [3, 2],
        [24, 1],
      ]),
      'space of a word after it',
    ],
    ['spaces as they are', modelProto(PIECES, [[3, 2]], [[5, 0]]), 'leaves spaces as they are'],
    [
      'a charsmap',
      modelProto(
        PIECES,
        [[3, 2]],
        [
          [1, 'nmt_nfkc'],
          [2, 'x'],
        ],
      ),
      '(nmt_nfkc)',
    ],
    ['a nameless one', modelProto(PIECES, [[3, 2]], [[2, 'x']]), '(without a name)'],
    ['one for decoding', message([[5, message([[2, 'x']])]]), 'replaces characters'],
  ])('%s', async (_, bytes, expected) => {
    const failure = imported({ 'tokenizer.model': bytes });
    await expect(failure).rejects.toMatchObject({
      name: 'SdaError',
      message: expect.stringContaining(expected),
    });
    await expect(failure).rejects.toThrow('tokenizer.model');
  });

  it('a folder without a vocabulary', async () => {
    const settings = { 'tokenizer_config.json': '{"tokenizer_class": "GPT2Tokenizer"}' };
    const missing = 'neither tokenizer.json nor tokenizer.model, vocab.json or tekken.json';
    await expect(imported({})).rejects.toThrow(missing);
    await expect(imported(settings)).rejects.toThrow(missing);
    await expect(imported({ ...settings, 'tokenizer.model': new Uint8Array(0) })).rejects.toThrow(
      'has neither tokenizer.json nor vocab.json',
    );
  });

  it.each([
    ['tokenizer_config.json', '{"tokenizer_class": "GemmaTokenizer"}', '"GemmaTokenizer"'],
    ['tokenizer_config.json', '{"legacy": "no"}', 'legacy: expected boolean, found string'],
    ['tokenizer_config.json', '[]', 'tokenizer_config.json'],
    ['added_tokens.json', '{"<x>": "7"}', 'expected number'],
    ['added_tokens.json', '{"ab": 90}', 'the token "ab" with the ids 3 and 90'],
    ['special_tokens_map.json', '{"additional_special_tokens": 1}', 'special_tokens_map.json'],
  ])('%s: %s', async (name, text, expected) => {
    await expect(imported({ 'tokenizer.model': model, [name]: text })).rejects.toThrow(expected);
  });
});
