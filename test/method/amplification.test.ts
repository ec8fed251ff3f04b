import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { AMPLIFICATIONS, type AmplificationName, amplify } from '../../src/method/amplification.js';
import fixture from '../fixtures/sda_step.json' with { type: 'json' };
import { expectNear } from '../support/close.js';
import { TOLERANCE } from '../support/tolerances.js';

/** The fixture's names -> ours. */
function nameOf(key: string): AmplificationName {
  return key.split(' ')[0]!.replaceAll('_', '-') as AmplificationName;
}

describe('amplify', () => {
  test('knows the functions of the fixture and no other', () => {
    const names = Object.keys(fixture.amplification['50']).map(nameOf);
    expect(Object.keys(AMPLIFICATIONS).sort()).toEqual(names.sort());
  });

  for (const [score, values] of Object.entries(fixture.amplification)) {
    test(`S = ${score}`, () => {
      for (const [key, expected] of Object.entries(values)) {
        expectNear(amplify(Number(score), nameOf(key)), expected, TOLERANCE.amplification);
      }
    });
  }

  test('is equation 3 unless told otherwise', () => {
    expect(amplify(33)).toBe(amplify(33, 'sigmoid'));
  });

  test('equation 3 lies in 0..1 and falls with the score', () => {
    const score = fc.double({ min: 0, max: 100, noNaN: true });
    fc.assert(
      fc.property(score, score, (s, t) => {
        const [a, b] = [amplify(Math.min(s, t)), amplify(Math.max(s, t))];
        expect(a).toBeGreaterThanOrEqual(b);
        expect(b).toBeGreaterThanOrEqual(0);
        expect(a).toBeLessThanOrEqual(1);
      }),
    );
  });

  test('a score of 0, of either sign, is the limit', () => {
    for (const zero of [0, -0]) {
      expect(amplify(zero)).toBe(1);
      expect(() => amplify(zero, 'inverse')).toThrowError(
        expect.objectContaining({
          code: 'bad-input',
          message:
            'The amplification "inverse" has no finite value at a score of 0: give a score above 0.',
        }),
      );
    }
  });

  test.each([-1, 100.5, Number.NaN, Number.POSITIVE_INFINITY])('refuses a score of %d', (score) => {
    expect(() => amplify(score)).toThrowError(
      expect.objectContaining({
        code: 'bad-input',
        message: `The score must be a number above 0 and at most 100, but is ${score}: score the base response again.`,
      }),
    );
  });

  test.each(['nothing', 'toString'])('refuses the function "%s"', (name) => {
    expect(() => amplify(50, name as AmplificationName)).toThrowError(
      expect.objectContaining({
        code: 'bad-input',
        message: expect.stringContaining(
          `No amplification is named "${name}": use one of sigmoid,`,
        ),
      }),
    );
  });
});
