import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { createPipeline } from '../../src/text/pipeline.js';
import { createTokenizer } from '../../src/text/tokenizer.js';
import { BARE_CONFIG } from './golden.js';

interface Steps<T> {
  readonly config: { readonly type: string; readonly [setting: string]: unknown };
  readonly found: readonly T[];
}
/** What the Rust library gives; see test/fixtures/text/steps.py. */
const golden = JSON.parse(
  readFileSync(new URL('../fixtures/text/golden-steps.json', import.meta.url), 'utf8'),
) as {
  texts: readonly string[];
  normalizers: readonly Steps<string>[];
  pre_tokenizers: readonly Steps<string[]>[];
  model_texts: readonly string[];
  models: readonly { parts: Record<string, unknown>; ids: readonly number[][] }[];
};

const BARE = {
  model: { type: 'BPE', vocab: { a: 0 }, merges: [] },
  normalizer: null,
  pre_tokenizer: null,
  post_processor: null,
};
const named = <T>(cases: readonly Steps<T>[]) =>
  cases.map((one) => [JSON.stringify(one.config).slice(0, 120), one] as const);

describe('normalizers have the texts of the Rust library', () => {
  it.each(named(golden.normalizers))('%s', (_, { config, found }) => {
    const { normalizer } = createPipeline({ ...BARE, normalizer: config }, [], 'T');
    for (const [i, text] of golden.texts.entries()) {
      expect(normalizer!(text), JSON.stringify(text)).toBe(found[i]);
    }
  });
});

describe('pre-tokenizers have the pieces of the Rust library', () => {
  it.each(named(golden.pre_tokenizers))('%s', (_, { config, found }) => {
    const { pre_tokenizer } = createPipeline({ ...BARE, pre_tokenizer: config }, [], 'T');
    for (const [i, text] of golden.texts.entries()) {
      if (text === '') continue; // the library cuts no empty text
      expect(pre_tokenizer!(text, { section_index: 0 }), JSON.stringify(text)).toEqual(found[i]);
    }
  });
});

describe('models and post-processors have the ids of the Rust library', () => {
  const cases = golden.models.map((one) => [JSON.stringify(one.parts).slice(0, 300), one] as const);
  it.each(cases)('%s', (_, { parts, ids }) => {
    const tokenizer = createTokenizer(parts, { file: 'T', config: BARE_CONFIG });
    for (const [i, text] of golden.model_texts.entries()) {
      expect(tokenizer.encode(text), text).toEqual(ids[i]);
    }
  });
});

describe('what has no like of it here is refused by name', () => {
  const bpe = BARE.model;
  it.each([
    ['BertNormalizer', { normalizer: { type: 'BertNormalizer', lowercase: true } }],
    ['ByteLevel', { normalizer: { type: 'ByteLevel' } }],
    ['Bogus', { normalizer: { type: 'Sequence', normalizers: [{ type: 'Bogus' }] } }],
    ['UnicodeScripts', { pre_tokenizer: { type: 'UnicodeScripts' } }],
    ['Replace', { pre_tokenizer: { type: 'Replace', pattern: { String: 'a' }, content: 'b' } }],
    ['WordPiece', { model: { ...bpe, type: 'WordPiece', unk_token: 'a' } }],
    ['WordLevel', { model: { ...bpe, type: 'WordLevel', unk_token: 'a' } }],
    ['dropout', { model: { ...bpe, dropout: 0.1 } }],
    ['continuing_subword_prefix', { model: { ...bpe, continuing_subword_prefix: '##' } }],
    ['Bogus', { post_processor: { type: 'Bogus' } }],
    ['WordPiece', { decoder: { type: 'WordPiece', prefix: '##', cleanup: true } }],
    ['BPEDecoder', { decoder: { type: 'BPEDecoder', suffix: '</w>' } }],
    ['CTC', { decoder: { type: 'CTC' } }],
  ])('%s', (name, change) => {
    const make = () => createTokenizer({ ...BARE, ...change }, { file: 'T', config: BARE_CONFIG });
    expect(make).toThrow(expect.objectContaining({ code: 'unsupported' }));
    expect(make).toThrow(name);
    expect(make).toThrow(/^T has a .*[.]$/);
  });

  it.each([
    ['BPE', [['a', 0]]],
    ['Unigram', { a: 0 }],
  ])('a %s model with the vocabulary %j', (type, vocab) => {
    const model = { type, vocab, merges: [], unk_id: 0 };
    const make = () => createTokenizer({ ...BARE, model }, { file: 'T', config: BARE_CONFIG });
    expect(make).toThrow(`T has a ${type} model with the vocabulary of another type`);
  });

  it.each([
    ['Precompiled', { normalizer: { type: 'Precompiled', precompiled_charsmap: 'AAAA' } }],
    ['Precompiled', { normalizer: { type: 'Precompiled', precompiled_charsmap: '/////w==' } }],
    ['Precompiled', { normalizer: { type: 'Precompiled', precompiled_charsmap: null } }],
    ['Strip', { normalizer: { type: 'Strip', strip_left: 1, strip_right: true } }],
    ['FixedLength', { pre_tokenizer: { type: 'FixedLength', length: 0 } }],
    [
      'TemplateProcessing',
      {
        post_processor: {
          type: 'TemplateProcessing',
          single: [{ SpecialToken: { id: 'a' } }],
          special_tokens: {},
        },
      },
    ],
  ])('a malformed %s, %j', (name, change) => {
    const make = () => createTokenizer({ ...BARE, ...change }, { file: 'T', config: BARE_CONFIG });
    expect(make).toThrow(expect.objectContaining({ code: 'bad-tokenizer' }));
    expect(make).toThrow(`malformed`);
    expect(make).toThrow(name);
  });
});
