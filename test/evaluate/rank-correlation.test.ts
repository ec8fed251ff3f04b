import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { spearman } from '../../src/evaluate/rank-correlation.js';

interface Case {
  readonly x: number[];
  readonly y: number[];
  readonly value: number;
  readonly low: number;
  readonly high: number;
}
/** From scipy; see make.py beside it. */
const golden = JSON.parse(
  readFileSync(new URL('../fixtures/intrinsic/spearman.json', import.meta.url), 'utf8'),
) as readonly Case[];

describe('spearman', () => {
  test('is what scipy gives, with and without equal values', () => {
    expect(golden.length).toBeGreaterThan(5);
    for (const { x, y, ...expected } of golden) {
      const found = spearman(x, y)!;
      expect(found.value).toBeCloseTo(expected.value, 12);
      expect(found.low).toBeCloseTo(expected.low, 12);
      expect(found.high).toBeCloseTo(expected.high, 12);
    }
  });

  test.each([
    ['too few pairs', [1, 2, 3], [1, 2, 3]],
    ['lists of different lengths', [1, 2, 3, 4, 5], [1, 2, 3, 4]],
    ['a single value', [1, 2, 3, 4], [7, 7, 7, 7]],
  ])('is null for %s', (_, x, y) => {
    expect(spearman(x, y)).toBeNull();
  });
});
