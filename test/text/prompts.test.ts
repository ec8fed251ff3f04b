import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { defaultModelDir } from '../../src/runtime/paths.js';
import { createChatTemplate, loadChatTemplate } from '../../src/text/chat-template.js';
import { buildPrompts } from '../../src/text/prompts.js';
import { loadTokenizer } from '../../src/text/tokenizer.js';
import { tiny } from './golden.js';

async function promptsOf(dir: string) {
  const [tokenizer, template] = [await loadTokenizer(dir), await loadChatTemplate(dir)];
  const build = (options: Partial<Parameters<typeof buildPrompts>[0]>) =>
    buildPrompts({
      tokenizer,
      template,
      query: 'Q?',
      instruction: 'I.',
      placement: 'after-query',
      ...options,
    });
  return { tokenizer, template, build };
}
const byteLevel = await promptsOf(tiny('byte-level'));
const byteFallback = await promptsOf(tiny('byte-fallback'));
const smollm2 = await promptsOf(defaultModelDir());
const turn = (role: string, content: string) => `<|im_start|>${role}\n${content}<|im_end|>\n`;
const answer = '<|im_start|>assistant\n';

describe('placements', () => {
  it.each([
    ['after-query', undefined, turn('user', 'Q?'), turn('user', 'Q?\nI.')],
    ['before-query', undefined, turn('user', 'Q?'), turn('user', 'I.\nQ?')],
    ['system', undefined, turn('user', 'Q?'), turn('system', 'I.') + turn('user', 'Q?')],
    [
      'after-query',
      'S.',
      turn('system', 'S.') + turn('user', 'Q?'),
      turn('system', 'S.') + turn('user', 'Q?\nI.'),
    ],
    [
      'system',
      'S.',
      turn('system', 'S.') + turn('user', 'Q?'),
      turn('system', 'S.\nI.') + turn('user', 'Q?'),
    ],
  ] as const)('%s, system line %s', (placement, system, base, instructed) => {
    const prompts = byteLevel.build({ placement, system });
    expect(prompts.baseText).toBe(base + answer);
    expect(prompts.instructedText).toBe(instructed + answer);
    expect(byteLevel.tokenizer.decode(prompts.instructedIds)).toBe(prompts.instructedText);
  });

  it('after the query, the ids share all up to its end', () => {
    const { baseIds, instructedIds } = smollm2.build({
      query: 'Why is the sky blue?',
      instruction: 'Be kind.',
    });
    const parted = baseIds.findIndex((id, i) => id !== instructedIds[i]);
    expect(
      smollm2.tokenizer.decode(baseIds.slice(0, parted)).endsWith('Why is the sky blue?'),
    ).toBe(true);
  });
});

it('never doubles the beginning-of-text token', () => {
  const { baseIds, baseText } = byteFallback.build({});
  expect(baseText.startsWith('<s>[INST]')).toBe(true);
  expect(baseIds.filter((id) => id === byteFallback.tokenizer.bosTokenId)).toHaveLength(1);
  expect(baseIds[0]).toBe(byteFallback.tokenizer.bosTokenId);
});

describe('control tokens that a user writes', () => {
  it('stay plain text, for any mixture of them and text', () => {
    for (const { tokenizer, build } of [byteLevel, byteFallback, smollm2]) {
      const special = tokenizer.addedTokens
        .filter((token) => token.special)
        .map(({ content }) => content);
      const piece = fc.oneof(
        fc.constantFrom(...special),
        fc.string({ maxLength: 6 }),
        fc.constantFrom(' ', '\n', '\ufdd0', '\ufdd1'),
      );
      const count = (ids: readonly number[]) =>
        ids.filter((id) => tokenizer.specialTokenIds.has(id)).length;
      const unknown = tokenizer.addedTokens.find(({ content }) => content === '<unk>')?.id;
      const expected = count(build({}).baseIds);
      fc.assert(
        fc.property(fc.array(piece, { minLength: 1, maxLength: 8 }), (pieces) => {
          const query = `a${pieces.join('')}`;
          const { baseIds, baseText } = build({ query });
          const known = baseIds.filter((id) => id !== unknown);
          expect(count(known)).toBe(expected);
          expect(baseText).toContain(query.replaceAll(/[\ufdd0\ufdd1]/g, ''));
          if (known.length === baseIds.length && tokenizer !== byteFallback.tokenizer) {
            expect(tokenizer.decode(baseIds)).toBe(baseText.normalize('NFC'));
          }
        }),
        { numRuns: 60 },
      );
    }
  });

  it('are tokenized as if nothing were special', () => {
    const { tokenizer, build } = byteLevel;
    const ids = build({ query: 'a<|im_end|>b' }).baseIds;
    const plain = tokenizer.encodeSegments([{ text: 'user\na<|im_end|>b', literal: true }]);
    expect(ids.slice(1, 1 + plain.length)).toEqual(plain);
    expect(tokenizer.encode('a<|im_end|>b')).toContain(tokenizer.eosTokenId);
  });

  it('cannot be put together by a template that takes the query apart', () => {
    const source = "{{ messages[0].content.split('-') | join('') }}";
    const template = createChatTemplate(source, { origin: 'T', roles: {} });
    const { baseIds, baseText } = byteLevel.build({ template, query: 'a<|im_<|im_end|>-end|>b' });
    expect(baseText).toBe('a<|im_<|im_end|>end|>b');
    expect(baseIds.some((id) => byteLevel.tokenizer.specialTokenIds.has(id))).toBe(false);
  });

  it('include those that only the template makes special', () => {
    const template = createChatTemplate('{{ messages[0].content }}<think>', {
      origin: 'T',
      roles: {},
    });
    const think = byteLevel.tokenizer.encode('<think>')[0];
    const { baseIds } = byteLevel.build({ template, query: 'x<think>y' });
    expect(baseIds.filter((id) => id === think)).toHaveLength(1);
    expect(baseIds.at(-1)).toBe(think);
  });
});

describe('refusals', () => {
  it.each(['', ' ', '\n\t'])('an empty query %j, an empty instruction', (text) => {
    expect(() => byteLevel.build({ query: text })).toThrow('The query is empty');
    expect(() => byteLevel.build({ instruction: text })).toThrow('The instruction is empty');
    expect(() => byteLevel.build({ query: text })).toThrow(
      expect.objectContaining({ code: 'bad-input' }),
    );
  });

  it('no template, and a template that takes no system turn', () => {
    expect(() => byteLevel.build({ template: null })).toThrow(
      expect.objectContaining({ code: 'no-chat-template' }),
    );
    expect(() => byteFallback.build({ placement: 'system' })).toThrow('System role not supported');
  });
});

describe('the template none', () => {
  it.each([
    ['a tokenizer that begins with a token', byteFallback, 'byte-fallback', [1]],
    ['a tokenizer that does not', byteLevel, 'byte-level', []],
  ] as const)('leaves the text as it is: %s', async (_, { tokenizer, build }, name, start) => {
    const template = await loadChatTemplate(tiny(name), 'none');
    const { baseIds, instructedIds, baseText, instructedText } = build({ template, system: 'S.' });
    expect([baseText, instructedText]).toEqual(['S.\nQ?', 'S.\nQ?\nI.']);
    expect(baseIds).toEqual([...start, ...tokenizer.encode('S.\nQ?', { addSpecialTokens: false })]);
    expect(instructedIds.filter((id) => id === 1)).toHaveLength(start.length);
    expect(template?.warnings).toEqual([]);
  });
});

describe('system text folded into the user turn', () => {
  it.each([
    ['after-query', 'S.', turn('user', 'S.\n\nQ?'), turn('user', 'S.\n\nQ?\nI.')],
    ['system', undefined, turn('user', 'Q?'), turn('user', 'I.\n\nQ?')],
    ['system', 'S.', turn('user', 'S.\n\nQ?'), turn('user', 'S.\nI.\n\nQ?')],
  ] as const)('%s, system line %s', (placement, system, base, instructed) => {
    const prompts = byteLevel.build({ placement, system, foldSystem: true });
    expect([prompts.baseText, prompts.instructedText]).toEqual([
      base + answer,
      instructed + answer,
    ]);
  });

  it('serves a template that takes no system turn, whose refusal names the option', () => {
    expect(byteFallback.build({ system: 'S.', foldSystem: true }).baseText).toBe(
      '<s>[INST] S.\n\nQ? [/INST]',
    );
    expect(() => byteFallback.build({ system: 'S.' })).toThrow('--fold-system');
  });
});

it('gives both prompts the same date', () => {
  const template = createChatTemplate("{{ strftime_now('%Y') }}{{ messages[0].content }}", {
    origin: 'T',
    roles: {},
  });
  const { baseText, instructedText } = byteLevel.build({ template, date: new Date(2020, 5, 1) });
  expect([baseText, instructedText]).toEqual(['2020Q?', '2020Q?\nI.']);
});
