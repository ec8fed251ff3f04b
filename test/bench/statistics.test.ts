import { describe, expect, it } from 'vitest';
import { median, quantile, summarise, summariseRatios } from '../../src/bench/statistics.js';

describe('quantile', () => {
  it.each([
    // numpy.quantile, whose default is the same interpolation
    [[3, 1, 2], 0.5, 2],
    [[4, 1, 3, 2], 0.5, 2.5],
    [[1, 2, 3, 4, 5], 0.2, 1.8],
    [[1, 2, 3, 4, 5], 0.8, 4.2],
    [[10, 0, 5, 20, 40, 80], 0.2, 5],
    [[10, 0, 5, 20, 40, 80], 0.8, 40],
    [[7], 0.8, 7],
    [[9, 2], 0, 2],
    [[9, 2], 1, 9],
  ])('of %j at %f is %f', (samples, q, expected) => {
    expect(quantile(samples, q)).toBeCloseTo(expected, 12);
  });

  it('sorts numbers as numbers and leaves the samples alone', () => {
    const samples = [100, 9, 20];
    expect(median(samples)).toBe(20);
    expect(samples).toEqual([100, 9, 20]);
  });

  it('has no value without samples or outside 0..1', () => {
    expect(() => quantile([], 0.5)).toThrow(RangeError);
    expect(() => quantile([1], 1.01)).toThrow(RangeError);
    expect(() => quantile([1], Number.NaN)).toThrow(RangeError);
  });
});

it('a summary keeps its samples in order', () => {
  expect(summarise([5, 1, 3])).toEqual({ median: 3, p20: 1.8, p80: 4.2, samples: [5, 1, 3] });
});

it('ratios are taken pair by pair', () => {
  // of medians: 20 / 4 = 5; of pairs: 2, 5 and 7
  expect(summariseRatios([10, 20, 28], [5, 4, 4]).samples).toEqual([2, 5, 7]);
});
