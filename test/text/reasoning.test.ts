import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { CORES, INSTRUCTIONS, isCoreName } from '../../src/text/instructions.js';
import {
  opensThinking,
  ReasoningStream,
  splitReasoning,
  type TextPart,
} from '../../src/text/reasoning.js';

it.each([
  ['no thinking', 'Hello </b>', false, '', 'Hello </b>', true],
  ['both tags', '<think>\nhm\n</think>\n\nYes', false, 'hm', 'Yes', true],
  ['only the closing tag', 'hm\n</think>\n\nYes', true, 'hm', 'Yes', true],
  ['only the closing tag, template unknown', 'hm</think>Yes', false, 'hm', 'Yes', true],
  ['several: the last counts', '<think>a</think>b</think> c', false, 'a</think>b', 'c', true],
  ['empty thinking', '<think>\n\n</think>\n\nYes', false, '', 'Yes', true],
  ['unfinished', '<think>hm', false, 'hm', '', false],
  ['unfinished, opened by the template', 'hm', true, 'hm', '', false],
  ['thinking again', '<think>a</think><think>b', false, 'a</think><think>b', '', false],
  ['nothing after the thinking', '<think>a</think>', false, 'a', '', true],
  ['the tag as a subject', 'The tag <think> opens it', false, '', 'The tag <think> opens it', true],
  [
    'tags as a subject',
    'Put <think> and </think> there',
    false,
    '',
    'Put <think> and </think> there',
    true,
  ],
  ['opened by both', '<think>\nhm</think>Yes', true, 'hm', 'Yes', true],
  ['nothing', '', false, '', '', true],
  ['tags of Magistral', '[THINK]hm[/THINK]\n\nYes', false, 'hm', 'Yes', true],
  ['of Magistral, opened', 'hm[/THINK]Yes', true, 'hm', 'Yes', true],
  ['of Magistral, unfinished', '[THINK]hm', false, 'hm', '', false],
  ['other tags inside', '[THINK]a</think>b[/THINK]Yes', false, 'a</think>b', 'Yes', true],
  ['other tags after', '<think>a</think>Write [/THINK]', false, 'a', 'Write [/THINK]', true],
  [
    'tags of Magistral as a subject',
    'Put [THINK] and [/THINK] there',
    false,
    '',
    'Put [THINK] and [/THINK] there',
    true,
  ],
])('%s', (_, text, opened, thinking, answer, finished) => {
  expect(splitReasoning(text, { opened })).toEqual({ thinking, answer, finished });
});

it('sees whether a prompt opens the thinking', () => {
  expect(opensThinking('<|Assistant|><think>\n')).toBe(true);
  expect(opensThinking('<think>\n\n</think>\n\n')).toBe(false);
  expect(opensThinking('[/INST][THINK]')).toBe(true);
});

describe('a text that comes in pieces', () => {
  const stream = (pieces: readonly string[], opened: boolean) => {
    const sorter = new ReasoningStream({ opened });
    return [...pieces.flatMap((piece) => sorter.push(piece)), ...sorter.flush()];
  };
  const joined = (parts: readonly TextPart[], wanted?: TextPart['part']) =>
    parts
      .flatMap(({ part, text }) => (wanted === undefined || part === wanted ? text : []))
      .join('');

  const piece = fc.oneof(
    fc.constantFrom(
      '<think>',
      '</think>',
      '<thi',
      'nk>',
      '</',
      'think>',
      '[THINK]',
      '[/THINK]',
      '[/TH',
      'INK]',
      '<',
      ' ',
      '\n\n',
      'a',
      'Yes',
    ),
    fc.string({ maxLength: 3 }),
  );

  it('is sorted as the whole text is split', () => {
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 12 }), fc.boolean(), (pieces, opened) => {
        const text = pieces.join('');
        const parts = stream(pieces, opened);
        expect(joined(parts)).toBe(text);
        expect(joined(stream([...text], opened), 'answer')).toBe(joined(parts, 'answer'));
        const { thinking, answer } = splitReasoning(text, { opened });
        const streamed = joined(parts, 'answer');
        // a closing tag inside the answer: it began too early
        expect(streamed.endsWith(answer)).toBe(true);
        if (/<\/think>|\[\/THINK\]/.test(streamed)) return;
        expect(streamed).toBe(answer);
        const thought = joined(parts, 'thinking').trim();
        const own = opened ? undefined : /^(<think>|\[THINK\])/.exec(thought)?.[0];
        const closing = { '<think>': /<\/think>$/, '[THINK]': /\[\/THINK\]$/ }[own ?? ''];
        expect(
          thought
            .replace(/^(<think>|\[THINK\])/, '')
            .replace(closing ?? /(<\/think>|\[\/THINK\])$/, '')
            .trim(),
        ).toBe(thinking);
      }),
      { numRuns: 2000 },
    );
  });

  it('holds back only what may be a tag', () => {
    const sorter = new ReasoningStream({ opened: false });
    const [thinking, answer] = ['thinking', 'answer'] as const;
    const pushed = [' <', 'think>a', 'b<', '/think>\n', '\nYes', ' <'].map((text) =>
      sorter.push(text),
    );
    expect(pushed).toEqual([
      [],
      [{ part: thinking, text: ' <think>a' }],
      [{ part: thinking, text: 'b' }],
      [{ part: thinking, text: '</think>' }],
      [
        { part: thinking, text: '\n\n' },
        { part: answer, text: 'Yes' },
      ],
      [{ part: answer, text: ' <' }],
    ]);
    expect(sorter.flush()).toEqual([]);
  });
});

it('has one instruction of one to three sentences for each core', () => {
  expect(Object.keys(INSTRUCTIONS)).toEqual([...CORES]);
  for (const text of Object.values(INSTRUCTIONS)) {
    const sentences = text.split(/(?<=\.) /);
    expect(sentences.length).toBeGreaterThanOrEqual(1);
    expect(sentences.length).toBeLessThanOrEqual(3);
    expect(text).toBe(text.trim());
  }
  expect([isCoreName('empathy'), isCoreName('toString')]).toEqual([true, false]);
});
