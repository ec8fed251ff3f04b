import { copyFile, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createTokenizer, loadTokenizer } from '../../src/text/tokenizer.js';
import { temporaryFolder } from '../checkpoint/build.js';
import { BARE_CONFIG, FOLDERS, readChanges, readGolden, tiny } from './golden.js';

const loaded = await Promise.all(
  FOLDERS.map(async ([name, dir]) => [name, await loadTokenizer(dir), readGolden(name)] as const),
);

describe.each(loaded)('%s', (_, tokenizer, golden) => {
  it('encodes as the Python library does', () => {
    for (const { text, ids, special } of golden.encoded) {
      expect(tokenizer.encode(text, { addSpecialTokens: false }), JSON.stringify(text)).toEqual(
        ids,
      );
      expect(tokenizer.encode(text), JSON.stringify(text)).toEqual(special);
    }
  });

  it('decodes as the Python library does, broken characters included', () => {
    for (const { ids, text, skipped } of golden.decoded) {
      expect(tokenizer.decode(ids), String(ids)).toBe(text);
      expect(tokenizer.decode(ids, { skipSpecialTokens: true }), String(ids)).toBe(skipped);
    }
  });

  it('streams what it decodes, and never half a character', () => {
    const ids = fc.array(fc.integer({ min: -1, max: tokenizer.size }), { maxLength: 60 });
    const skips = fc.boolean();
    fc.assert(
      fc.property(ids, skips, (tokens, skipSpecialTokens) => {
        const stream = tokenizer.streamDecoder({ skipSpecialTokens });
        const deltas = tokens.map((id) => stream.push(id));
        deltas.push(stream.flush());
        const text = tokenizer.decode(tokens, { skipSpecialTokens });
        expect(deltas.join('')).toBe(text);
        for (const delta of deltas) expect(delta).not.toMatch(/\p{Cs}/u);
      }),
    );
  });

  it('streams any text back', () => {
    const texts = fc.oneof(
      fc.string({ unit: 'grapheme', maxLength: 40 }),
      fc.constantFrom('a\ufffdb', '\ufffd', '\ufffd\ufffd', '😀', '👩‍👩‍👧‍👦', ' x', '日本語'),
    );
    fc.assert(
      fc.property(texts, (text) => {
        const ids = tokenizer.encode(text, { addSpecialTokens: false });
        const stream = tokenizer.streamDecoder();
        let joined = '';
        for (const id of ids) {
          joined += stream.push(id);
          expect(tokenizer.decode(ids).startsWith(joined)).toBe(true);
        }
        expect(joined + stream.flush()).toBe(tokenizer.decode(ids));
      }),
    );
  });

  it('decodes nothing to nothing', () => {
    expect(tokenizer.decode([])).toBe('');
    expect(tokenizer.streamDecoder().flush()).toBe('');
  });
});

describe('a tokenizer with a change', async () => {
  const { texts, cases } = readChanges();
  const json = JSON.parse(await readFile(join(tiny('byte-level'), 'tokenizer.json'), 'utf8'));
  const changed = (change: object) =>
    createTokenizer({ ...json, ...change }, { file: 'tokenizer.json', config: BARE_CONFIG });
  const split = (Regex: string, behavior: string) => ({
    pre_tokenizer: { type: 'Split', pattern: { Regex }, behavior, invert: false },
  });

  it.each(cases.map((golden) => [JSON.stringify(golden.change).slice(0, 300), golden] as const))(
    'encodes as the Python library does: %s',
    (_, { change, ids }) => {
      const tokenizer = changed(change);
      for (const [i, text] of texts.entries()) {
        expect(tokenizer.encode(text, { addSpecialTokens: false }), text).toEqual(ids[i]);
        const segments = [
          { text: '', literal: true },
          { text, literal: false },
        ];
        expect(tokenizer.encodeSegments(segments), text).toEqual(ids[i]);
      }
    },
  );

  it('sees that a word goes on across segments', () => {
    const cat = { id: 900, content: 'cat', special: true, single_word: true };
    const tokenizer = changed({ added_tokens: [...json.added_tokens, cat] });
    const cut = (...parts: string[]) =>
      tokenizer.encodeSegments(parts.map((text, i) => ({ text, literal: i % 2 === 0 })));
    expect(cut('con', 'cat cat')).toEqual(tokenizer.encode('concat cat'));
    expect(cut('con ', 'cat', 's')).not.toContain(900);
    expect(cut('con ', 'cat', ' s')).toContain(900);
  });

  it.each([
    ['(a)\\1b++', 'Isolated', 'a possessive quantifier beside a back-reference'],
    ['(?<=a++)b', 'Isolated', 'a possessive quantifier in a look behind'],
  ])('refuses the pattern %s (%s)', (pattern, behavior, message) => {
    expect(() => changed(split(pattern, behavior))).toThrow(
      expect.objectContaining({ code: 'unsupported', message: expect.stringContaining(message) }),
    );
  });

  it('keeps the tags of thinking among the special tokens that it skips', () => {
    const added = (special: boolean) =>
      ['<think>', '</think>', '[THINK]', '[/THINK]', '<other>'].map((content, i) => ({
        id: 900 + i,
        content,
        special,
      }));
    const roles = {
      ...BARE_CONFIG,
      extraSpecialTokens: ['<think>', '</think>', '[THINK]', '[/THINK]'],
    };
    for (const tokenizer of [
      changed({ added_tokens: added(true) }),
      createTokenizer(
        { ...json, added_tokens: added(false) },
        { file: 'tokenizer.json', config: roles },
      ),
    ]) {
      const text = '<think>a</think>b[THINK]c[/THINK]';
      const ids = tokenizer.encode(text, { addSpecialTokens: false });
      expect(tokenizer.specialTokenIds.has(900)).toBe(true);
      expect(tokenizer.decode(ids, { skipSpecialTokens: true })).toBe(text);
    }
    const tokenizer = changed({ added_tokens: added(true) });
    expect(tokenizer.decode([904], { skipSpecialTokens: true })).toBe('');
  });
});

describe('properties of a tokenizer', () => {
  const byteFallback = loadTokenizer(tiny('byte-fallback'));

  it('names its special tokens', async () => {
    const tokenizer = await byteFallback;
    expect([tokenizer.bosTokenId, tokenizer.eosTokenId]).toEqual([1, 2]);
    expect(tokenizer.specialTokenIds).toEqual(new Set([0, 1, 2]));
    const noBos = await loadTokenizer(tiny('byte-level'));
    expect([noBos.bosTokenId, noBos.eosTokenId]).toEqual([null, 2]);
  });

  it('knows which ids have a token', async () => {
    const tokenizer = await byteFallback;
    expect(tokenizer.hasToken(tokenizer.size - 1)).toBe(true);
    expect([tokenizer.hasToken(tokenizer.size), tokenizer.hasToken(-1)]).toEqual([false, false]);
  });

  it('shows a token with its leading space', async () => {
    const tokenizer = await byteFallback;
    const the = tokenizer.encode('the', { addSpecialTokens: false })[0]!;
    expect(tokenizer.decode([the])).toBe('the');
    expect(tokenizer.tokenText(the)).toBe(' the');
    expect(tokenizer.tokenText(1)).toBe('<s>');
    expect(tokenizer.tokenText(3)).toBe('\0');
    expect(tokenizer.tokenText(3 + 0xe2)).toBe('\ufffd');
    expect(tokenizer.tokenText(99_999)).toBe('<99999>');
  });

  it('keeps spaces before punctuation, whatever tokenizer_config.json says', async () => {
    for (const flag of [{}, { clean_up_tokenization_spaces: true }]) {
      const dir = await temporaryFolder({ 'tokenizer_config.json': JSON.stringify(flag) });
      await copyFile(join(tiny('byte-level'), 'tokenizer.json'), join(dir, 'tokenizer.json'));
      const tokenizer = await loadTokenizer(dir);
      expect(tokenizer.decode(tokenizer.encode("a . b ! it 's"))).toBe("a . b ! it 's");
    }
  });

  it('makes special tokens of what only tokenizer_config.json names', async () => {
    const config = {
      eos_token: 'cat',
      added_tokens_decoder: { 390: { content: '<extra>', special: true } },
    };
    const dir = await temporaryFolder({ 'tokenizer_config.json': JSON.stringify(config) });
    const text = await readFile(join(tiny('byte-fallback'), 'tokenizer.json'), 'utf8');
    const json = JSON.parse(text);
    json.model.vocab.cat = 380;
    const folder = await temporaryFolder({ 'tokenizer.json': JSON.stringify(json) });
    await copyFile(join(folder, 'tokenizer.json'), join(dir, 'tokenizer.json'));
    const tokenizer = await loadTokenizer(dir);
    expect(tokenizer.eosTokenId).toBe(380);
    expect(tokenizer.encode('<extra>', { addSpecialTokens: false })).toEqual([390]);
    expect(tokenizer.specialTokenIds).toEqual(new Set([0, 1, 2, 380, 390]));
    expect(tokenizer.decode([390, 380], { skipSpecialTokens: true })).toBe('');
  });
});

describe('tokenizers that cannot be used', () => {
  const load = async (json: unknown, config = '{}') => {
    const text = typeof json === 'string' ? json : JSON.stringify(json);
    return loadTokenizer(
      await temporaryFolder({ 'tokenizer.json': text, 'tokenizer_config.json': config }),
    );
  };
  const bpe = { model: { type: 'BPE', vocab: { a: 0 }, merges: [] } };

  it.each([
    ['broken JSON', '{', 'bad-tokenizer'],
    ['a list', [], 'bad-tokenizer'],
    ['no model', {}, 'bad-tokenizer'],
    ['a negative id', { model: { type: 'BPE', vocab: { a: -1 }, merges: [] } }, 'bad-tokenizer'],
    ['half an id', { model: { type: 'BPE', vocab: { a: 0.5 }, merges: [] } }, 'bad-tokenizer'],
    ['an unknown normalizer', { ...bpe, normalizer: { type: 'X' } }, 'unsupported'],
    ['a normalizer without a type', { ...bpe, normalizer: {} }, 'bad-tokenizer'],
    [
      'a step without its pattern, which would change nothing',
      {
        ...bpe,
        pre_tokenizer: { type: 'Sequence', pretokenizers: [{ type: 'Split', pattern: 'a' }] },
      },
      'bad-tokenizer',
    ],
    ['a replacement of nothing', { ...bpe, normalizer: { type: 'Replace' } }, 'bad-tokenizer'],
    ['an unknown decoder', { ...bpe, decoder: { type: 'CTC' } }, 'unsupported'],
    ['a malformed decoder', { ...bpe, decoder: { type: 'Replace', content: '' } }, 'bad-tokenizer'],
    [
      'an odd order of decoders',
      {
        ...bpe,
        decoder: { type: 'Sequence', decoders: [{ type: 'Fuse' }, { type: 'ByteFallback' }] },
      },
      'unsupported',
    ],
    [
      'a pattern of another language',
      { ...bpe, decoder: { type: 'Replace', pattern: { Regex: '(?>' }, content: '' } },
      'unsupported',
    ],
    ['a decoder without a type', { ...bpe, decoder: {} }, 'unsupported'],
    ['a decoder that is a text', { ...bpe, decoder: 'ByteLevel' }, 'unsupported'],
  ])('%s', async (_, json, code) => {
    await expect(load(json)).rejects.toMatchObject({ code });
    await expect(load(json)).rejects.toThrow('tokenizer.json');
  });

  it('a missing file, a broken configuration, a text without tokens', async () => {
    await expect(loadTokenizer(await temporaryFolder())).rejects.toMatchObject({
      code: 'file-missing',
    });
    await expect(load(bpe, '{"bos_token": 7}')).rejects.toThrow('tokenizer_config.json');
    const tokenizer = await load(bpe);
    expect(tokenizer.encode('aa')).toEqual([0, 0]);
    expect(tokenizer.decode([0, 0])).toBe('a a');
    expect(tokenizer.encode('aba')).toEqual([0, 0]); // without an unknown token, as in Python
    const single = [
      { SpecialToken: { id: '<s>', type_id: 0 } },
      { Sequence: { id: 'A', type_id: 0 } },
    ];
    const post_processor = { type: 'TemplateProcessing', single, pair: single };
    await expect(load({ ...bpe, post_processor })).rejects.toThrow('special_tokens: is missing');
    const special_tokens = { '<s>': { id: '<s>', ids: [7], tokens: ['<s>'] } };
    const incomplete = await load({
      ...bpe,
      post_processor: { ...post_processor, special_tokens },
    });
    expect(() => incomplete.encode('a')).toThrow('no token for a part of the text');
  });
});
