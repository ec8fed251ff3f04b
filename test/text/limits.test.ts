import { describe, expect, it } from 'vitest';
import { createChatTemplate } from '../../src/text/chat-template.js';
import { OutOfTime, withinTime } from '../../src/text/limits.js';
import { createTokenizer } from '../../src/text/tokenizer.js';
import { BARE_CONFIG } from './golden.js';

const render = (source: string, content = 'Hi') =>
  createChatTemplate(source, { origin: 'T', roles: {} }).render([{ role: 'user', content }]);

describe('withinTime', () => {
  it('gives results and errors through, also nested', () => {
    expect(withinTime(1000, () => withinTime(1000, () => 1) + 1)).toBe(2);
    const failure = new Error('own');
    expect(() =>
      withinTime(1000, () => {
        throw failure;
      }),
    ).toThrow(failure);
  });

  it('ends a loop and a regular expression', () => {
    expect(() =>
      withinTime(50, () => {
        for (;;);
      }),
    ).toThrow(OutOfTime);
    expect(() => withinTime(50, () => /^(a+)+$/.test(`${'a'.repeat(50)}b`))).toThrow(OutOfTime);
    expect(withinTime(1000, () => 3)).toBe(3);
  });

  it('is patient where others have the processor', () => {
    const waited = new Int32Array(new SharedArrayBuffer(4));
    let runs = 0;
    // waiting takes no processor time, as on a busy machine; the loop is where V8 can end it
    const body = () => {
      if (++runs < 3) for (;;) Atomics.wait(waited, 0, 0, 5);
      return runs;
    };
    expect(withinTime(30, body)).toBe(3);
    const waits = () => {
      for (;;) Atomics.wait(waited, 0, 0, 5);
    };
    expect(() => withinTime(5, waits)).toThrow(OutOfTime); // not for ever
  });
});

describe('a template', () => {
  const forever = '{% for i in range(9999) %}{% for j in range(9999) %}{% for k in range(9999) %}';
  it.each([
    ['loops for ever', `${forever}{% endfor %}{% endfor %}{% endfor %}`, 'more than 501 ms'],
    [
      'doubles a list',
      `{% set l = [1] %}${'{% set l = l + l %}'.repeat(40)}`,
      'more than 20000 entries',
    ],
    [
      'doubles a text',
      `{% set t = 'a' %}${'{% set t = t ~ t %}'.repeat(60)}{{ t }}`,
      'more than 16777216 characters',
    ],
    [
      'writes a text again and again',
      `{% set t = 'aaaaaaaaaa' %}${'{% set t = t ~ t %}'.repeat(20)}{{ t }}{{ t }}`,
      'more than 16777216 characters',
    ],
    [
      'writes lists inside each other',
      `{% set l = [] %}${'{% set l = [l, l] %}'.repeat(40)}{{ l }}`,
      'more than',
    ],
    [
      'writes JSON inside each other',
      `{% set l = [] %}${'{% set l = [l, l] %}'.repeat(40)}{{ l | tojson(indent=2) }}`,
      'more than',
    ],
    [
      'joins a text again and again',
      `{% set t = 'aaaaaaaaaa' %}${'{% set t = t ~ t %}'.repeat(20)}{{ range(9) | join(t) }}`,
      'more than 16777216 characters',
    ],
    ['asks for a long range', '{{ range(1000000000) }}', 'range of 1000000000 numbers'],
    ['asks for an endless range', '{{ range(0, 1, 0) }}', 'range of'],
    ['calls itself', '{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}', 'cannot be rendered'],
  ])('that %s is an error', (_, source, message) => {
    expect(() =>
      createChatTemplate(source, { origin: 'T', roles: {} }).render([
        { role: 'user', content: 'Hi' },
      ]),
    ).toThrow(
      expect.objectContaining({ code: 'bad-template', message: expect.stringContaining(message) }),
    );
  });

  it.each([
    'messages.constructor',
    'messages.__proto__',
    'messages[0].constructor',
    'messages[0]["__proto__"]',
    'range.constructor',
    'raise_exception.constructor',
    '"a".constructor',
    'messages[0].content.constructor',
    '[].constructor',
    '{}.constructor',
    '{}["__proto__"]',
    'namespace().constructor',
    'strftime_now.__proto__',
    'messages[0].content.upper.constructor',
    '(messages | first)["constructor"]',
    'self',
    'process',
    'globalThis',
    'require',
    'this',
  ])('cannot reach the machine by %s', (expression) => {
    expect(render(`{{ ${expression} }}{{ ${expression} is defined }}`)).toBe('False');
  });

  it('takes a long conversation', () => {
    expect(render('{{ messages[0].content }}', 'x'.repeat(2_000_000))).toHaveLength(2_000_000);
  });
});

it.each([
  [
    'splits',
    {
      pre_tokenizer: {
        type: 'Split',
        pattern: { Regex: '(a+)+$' },
        behavior: 'Isolated',
        invert: false,
      },
    },
  ],
  ['normalizes', { normalizer: { type: 'Replace', pattern: { Regex: '(a+)+$' }, content: '' } }],
])('a regular expression that %s by endless backtracking is an error', (_, part) => {
  const json = { model: { type: 'BPE', vocab: { a: 0, b: 1 }, merges: [] }, ...part };
  const tokenizer = createTokenizer(json, { file: 'T', config: BARE_CONFIG });
  const text = `${'a'.repeat(60)}b`;
  for (const encode of [
    () => tokenizer.encode(text),
    () => tokenizer.encodeSegments([{ text, literal: true }]),
  ]) {
    expect(encode).toThrow(
      expect.objectContaining({
        code: 'bad-tokenizer',
        message: expect.stringContaining('504 ms'),
      }),
    );
  }
});
