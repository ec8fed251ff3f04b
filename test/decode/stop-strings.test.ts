import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { StopStrings } from '../../src/decode/stop-strings.js';

/** What is shown of a text that comes in pieces. */
function shown(pieces: readonly string[], stops: readonly string[]) {
  const strings = new StopStrings(stops);
  let text = '';
  for (const piece of pieces) {
    const { text: safe, stopped } = strings.push(piece);
    text += safe;
    if (stopped) return { text, stopped };
  }
  return { text: text + strings.flush(), stopped: false };
}

describe('StopStrings', () => {
  test.each<[string, string[], string[], string, boolean]>([
    ['no stops', ['ab', 'c'], [], 'abc', false],
    ['within a piece', ['ab\n\ncd'], ['\n\n'], 'ab', true],
    ['over pieces', ['ab<', '/', 's>x'], ['</s>'], 'ab', true],
    ['a start that does not go on', ['ab<', '/', 'p>x'], ['</s>'], 'ab</p>x', false],
    ['a start at the end', ['ab<', '/'], ['</s>'], 'ab</', false],
    ['repeated starts', ['aa', 'a', 'b'], ['aab'], 'a', true],
    ['the first of several', ['one two three'], ['three', 'two'], 'one ', true],
    ['an empty stop is none', ['abc'], [''], 'abc', false],
    ['at once', ['END'], ['END'], '', true],
    ['the longest that ends there', ['xab'], ['b', 'ab'], 'x', true],
    ['the first to be complete', ['abc'], ['abc', 'b'], 'a', true],
  ])('%s', (_, pieces, stops, text, stopped) => {
    expect(shown(pieces, stops)).toEqual({ text, stopped });
    expect(shown([...pieces.join('')], stops)).toEqual({ text, stopped });
  });

  test('holds back only what may become a stop string', () => {
    const strings = new StopStrings(['</s>']);
    expect(strings.push('ab<')).toEqual({ text: 'ab', stopped: false });
    expect(strings.push('b')).toEqual({ text: '<b', stopped: false });
    expect(strings.push('</')).toEqual({ text: '', stopped: false });
    expect(strings.flush()).toBe('</');
    expect(strings.flush()).toBe('');
  });

  const letters = fc
    .array(fc.constantFrom('a', 'b', 'c'), { maxLength: 14 })
    .map((l) => l.join(''));
  const stop = fc
    .array(fc.constantFrom('a', 'b', 'c'), { minLength: 1, maxLength: 4 })
    .map((l) => l.join(''));

  test('a single stop cuts at its first occurrence, however the text is split', () => {
    fc.assert(
      fc.property(fc.array(letters), stop, (pieces, end) => {
        const text = pieces.join('');
        const at = text.indexOf(end);
        expect(shown(pieces, [end])).toEqual(
          at < 0 ? { text, stopped: false } : { text: text.slice(0, at), stopped: true },
        );
      }),
    );
  });

  test('several stops cut the same however the text is split', () => {
    fc.assert(
      fc.property(fc.array(letters), fc.array(stop, { maxLength: 4 }), (pieces, stops) => {
        const whole = shown([pieces.join('')], stops);
        expect(shown(pieces, stops)).toEqual(whole);
        expect(shown([...pieces.join('')], stops)).toEqual(whole);
        if (!whole.stopped) expect(stops.some((s) => pieces.join('').includes(s))).toBe(false);
      }),
    );
  });
});
