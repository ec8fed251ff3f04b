import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parseJson } from '../../src/checkpoint/json-file.js';
import { defaultModelDir } from '../../src/runtime/paths.js';
import { createChatTemplate, loadChatTemplate } from '../../src/text/chat-template.js';
import { createTokenizer, loadTokenizer } from '../../src/text/tokenizer.js';
import { loadTokenizerConfig } from '../../src/text/tokenizer-config.js';
import { tiny } from '../text/golden.js';
import { fresh, json, root, utf8 } from './files.js';
import { type Json, mutateBytes, mutateJson, mutateText } from './mutate.js';
import { fuzz } from './outcome.js';

describe('tokenizers', () => {
  const seeds = ['byte-level', 'byte-fallback', 'metaspace'].map(
    (name) => json(join(tiny(name), 'tokenizer.json')) as { [key: string]: Json },
  );
  const config = {
    file: 'C',
    roles: { bos_token: '<s>' },
    extraSpecialTokens: [],
    addedTokens: [],
    chatTemplate: null,
  };
  const texts = ['', 'Hello cat 12', 'é日😀\0\n', '<s>a</s>', 'x'.repeat(300)];

  it('tokenizer.json', async () => {
    const { accepted } = await fuzz(2500, (dice) => {
      const seed = dice.pick(seeds);
      // each part as likely as the others, however large
      const part = dice.pick(Object.keys(seed));
      const changed = { ...seed, [part]: mutateJson(fresh(seed[part] ?? null), dice) };
      const tokenizer = createTokenizer(parseJson(JSON.stringify(changed), 'T', 'bad-tokenizer'), {
        file: 'T',
        config,
      });
      for (const text of texts) {
        const ids = tokenizer.encode(text);
        expect(ids.filter((id) => !Number.isInteger(id) || id < 0)).toEqual([]);
        const stream = tokenizer.streamDecoder();
        expect(ids.map((id) => stream.push(id)).join('') + stream.flush()).toBe(
          tokenizer.decode(ids),
        );
      }
    });
    expect(accepted).toBeGreaterThan(100);
  });

  it('folders', async () => {
    const dir = join(root, 'tokenizer');
    mkdirSync(dir);
    symlinkSync(join(tiny('byte-level'), 'tokenizer.json'), join(dir, 'tokenizer.json'));
    const files = {
      'tokenizer_config.json': json(join(tiny('byte-level'), 'tokenizer_config.json')),
      'special_tokens_map.json': { bos_token: '<s>', eos_token: { content: '</s>' } } as Json,
    };
    const { accepted } = await fuzz(500, async (dice) => {
      for (const [name, value] of Object.entries(files)) {
        const text = utf8(JSON.stringify(mutateJson(fresh(value), dice)));
        writeFileSync(join(dir, name), dice.below(4) === 0 ? mutateBytes(text, dice) : text);
      }
      await loadTokenizerConfig(dir);
      const tokenizer = await loadTokenizer(dir);
      tokenizer.decode(tokenizer.encode('Hello <s>'));
      await loadChatTemplate(dir);
    });
    expect(accepted).toBeGreaterThan(20);
  });
});

it('chat templates', async () => {
  const own = (json(join(defaultModelDir(), 'tokenizer_config.json')) as { chat_template: string })
    .chat_template;
  const seeds = [
    own,
    "{% set ns = namespace(x=[]) %}{% macro f(a) %}{{ a | upper | trim }}{% endmacro %}{% for m in messages if m.role != 'system' %}{{ f(m.content) ~ loop.index0 }}{% else %}{{ raise_exception('none') }}{% endfor %}",
  ];
  const pieces = [
    '{%',
    '%}',
    '{{',
    '}}',
    '{#',
    "'",
    '"',
    '|',
    '(',
    ')',
    '[',
    ']',
    '~',
    ' for i in range(99999) ',
    ' endfor ',
    "{% set x = 'ab' %}",
    '{% set x = x ~ x %}',
    '{% set l = [1] %}',
    '{% set l = l + l %}',
    ' messages ',
    '.__proto__',
    '.constructor',
    '[-1]',
    '[::0]',
    ' is defined',
    '| tojson',
    '| join',
    "| replace('', 'aa')",
    '| sort',
    '* 99999',
    '// 0',
    '% 0',
    '** 99',
    '{{ f(f) }}',
    '{% for a in messages %}{% for b in range(9999) %}',
    '{% break %}',
    '{% include "x" %}',
    '{% import "os" %}',
    '\0',
    '\ud800',
    'self',
    '{% call f(1) %}',
    '{% generation %}',
    '{%- if %}',
  ];
  const messages = [
    { role: 'system', content: 'Be kind.' },
    { role: 'user', content: 'Hi' },
  ] as const;
  const { accepted } = await fuzz(3000, (dice) => {
    let source = dice.pick(seeds);
    for (let times = 1 + dice.below(4); times > 0; times--)
      source = mutateText(source, pieces, dice);
    const template = createChatTemplate(source, { origin: 'T', roles: { bos_token: '<s>' } });
    expect(template.render(messages)).toBeTypeOf('string');
  });
  expect(accepted).toBeGreaterThan(100);
});
