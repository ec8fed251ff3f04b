import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parseJson } from '../../src/checkpoint/json-file.js';
import { loadChatTemplate } from '../../src/text/chat-template.js';
import { createTokenizer, loadTokenizer, type Tokenizer } from '../../src/text/tokenizer.js';
import { loadTokenizerConfig } from '../../src/text/tokenizer-config.js';
import { tiny } from '../text/golden.js';
import { fresh, json, root, utf8 } from './files.js';
import { type Json, mutateBytes, mutateJson } from './mutate.js';
import { expectAccepted, fuzz } from './outcome.js';

/** Stands in the place of a file's path. */
const NAME = '/folder/tokenizer.json';

describe('tokenizers', () => {
  const own = ['byte-level', 'byte-fallback', 'metaspace'].map(
    (name) => json(join(tiny(name), 'tokenizer.json')) as { [key: string]: Json },
  );
  const replace = (pattern: Json, content: string): Json => ({ type: 'Replace', pattern, content });
  const seeds = [
    ...own,
    {
      ...own[1],
      normalizer: {
        type: 'Sequence',
        normalizers: [{ type: 'NFKC' }, replace({ Regex: '(a+)+$' }, 'x'), { type: 'Lowercase' }],
      },
      decoder: {
        type: 'Sequence',
        decoders: [
          replace({ String: '\u2581' }, ' '),
          replace({ Regex: '[a-z]' }, 'bb'),
          { type: 'ByteFallback' },
          { type: 'Fuse' },
          { type: 'Strip', content: ' ', start: 1, stop: 0 },
        ],
      },
    },
    {
      ...own[0],
      pre_tokenizer: {
        type: 'Sequence',
        pretokenizers: [
          { type: 'Digits', individual_digits: true },
          { type: 'Split', pattern: { Regex: '\\s+' }, behavior: 'Isolated', invert: false },
          { type: 'ByteLevel', add_prefix_space: false, use_regex: false },
        ],
      },
    },
  ] as { [key: string]: Json }[];
  const config = {
    file: '/folder/tokenizer_config.json',
    roles: { bos_token: '<s>' },
    extraSpecialTokens: [],
    addedTokens: [],
    chatTemplate: null,
  };
  const texts = ['', 'Hello cat 12', 'é日😀\0\n', '<s>a</s>', 'x'.repeat(60)];

  it('tokenizer.json', async () => {
    const { accepted } = await fuzz(2500, [NAME], (dice, { lap }) => {
      const seed = dice.pick(seeds);
      // each part as likely as the others, however large
      const part = dice.pick(Object.keys(seed));
      const changed = { ...seed, [part]: mutateJson(fresh(seed[part] ?? null), dice) };
      const tokenizer = createTokenizer(parseJson(JSON.stringify(changed), NAME, 'bad-tokenizer'), {
        file: NAME,
        config,
      });
      const some = Array.from({ length: 12 }, () => dice.below(tokenizer.size + 2));
      expectStreamed(tokenizer, some);
      for (const text of texts) {
        lap();
        const ids = tokenizer.encode(text);
        expect(ids.filter((id) => !Number.isInteger(id) || !tokenizer.hasToken(id))).toEqual([]);
        lap();
        expectStreamed(tokenizer, ids);
        lap();
        tokenizer.encodeSegments([
          { text, literal: true },
          { text, literal: false },
        ]);
      }
    });
    expectAccepted(accepted, 100);
  });

  it('folders', async () => {
    const dir = join(root, 'tokenizer');
    mkdirSync(dir);
    symlinkSync(join(tiny('byte-level'), 'tokenizer.json'), join(dir, 'tokenizer.json'));
    const files = {
      'tokenizer_config.json': json(join(tiny('byte-level'), 'tokenizer_config.json')),
      'special_tokens_map.json': { bos_token: '<s>', eos_token: { content: '</s>' } } as Json,
    };
    const { accepted } = await fuzz(500, [dir], async (dice) => {
      for (const [name, value] of Object.entries(files)) {
        const text = utf8(JSON.stringify(mutateJson(fresh(value), dice)));
        writeFileSync(join(dir, name), dice.below(4) === 0 ? mutateBytes(text, dice) : text);
      }
      await loadTokenizerConfig(dir);
      const tokenizer = await loadTokenizer(dir);
      tokenizer.decode(tokenizer.encode('Hello <s>'));
      await loadChatTemplate(dir);
    });
    expectAccepted(accepted, 20);
  });
});

/** Ids that come one by one must give the text that they give together. */
function expectStreamed(tokenizer: Tokenizer, ids: readonly number[]) {
  const stream = tokenizer.streamDecoder();
  const streamed = ids.map((id) => stream.push(id)).join('') + stream.flush();
  expect(streamed).toBe(tokenizer.decode(ids));
}
