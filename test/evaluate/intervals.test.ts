import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { bootstrapNetWins, signTest, wilson } from '../../src/evaluate/intervals.js';
import { packageRoot } from '../../src/runtime/paths.js';

interface Case {
  readonly wins: number;
  readonly losses: number;
  readonly ties: number;
  readonly wilson: [number, number];
  readonly sign_test: number | null;
  readonly bootstrap_exact: [number, number];
  readonly bootstrap_scipy?: [number, number];
}

const golden = JSON.parse(
  readFileSync(join(packageRoot(), 'test/fixtures/statistics/golden.json'), 'utf8'),
) as { cases: Case[] };

describe.each(golden.cases)('$wins wins, $losses losses, $ties ties', (counts) => {
  const { wins, losses, ties } = counts;
  const n = wins + losses + ties;

  test('have the interval of statsmodels', () => {
    const { low, high } = wilson(wins, n);
    expect(low).toBeCloseTo(counts.wilson[0], 12);
    expect(high).toBeCloseTo(counts.wilson[1], 12);
  });

  test('have the p of scipy', () => {
    const p = signTest(wins, losses);
    if (counts.sign_test === null) expect(p).toBeNull();
    else expect(p! / counts.sign_test).toBeCloseTo(1, 9);
  });

  test('have the percentiles of all resamples', () => {
    const { low, high } = bootstrapNetWins(wins, losses, ties);
    expect(low).toBeCloseTo(counts.bootstrap_exact[0], 12);
    expect(high).toBeCloseTo(counts.bootstrap_exact[1], 12);
  });
});

test.each(golden.cases.filter((counts) => counts.bootstrap_scipy))(
  'percentiles are one outcome from scipy’s resamples at most: $wins wins, $losses losses, $ties ties',
  ({ wins, losses, ties, bootstrap_scipy: drawn }) => {
    const { low, high } = bootstrapNetWins(wins, losses, ties);
    // A percentile lies on a grid; drawn resamples may miss it by one
    const step = 1 / (wins + losses + ties) + 1e-9;
    expect(Math.abs(low - drawn![0])).toBeLessThanOrEqual(step);
    expect(Math.abs(high - drawn![1])).toBeLessThanOrEqual(step);
  },
);

test('an interval of many items is that of the normal distribution', () => {
  const [wins, losses, ties] = [4100, 3300, 2600];
  const { low, high } = bootstrapNetWins(wins, losses, ties);
  const n = wins + losses + ties;
  const mean = (wins - losses) / n;
  const error = Math.sqrt(((wins + losses) / n - mean * mean) / n);
  expect(low).toBeCloseTo(mean - 1.96 * error, 3);
  expect(high).toBeCloseTo(mean + 1.96 * error, 3);
});

test.each([
  [7, 2, 3],
  [60, 25, 15],
  [0, 4, 6],
])('wins and losses exchanged turn the interval around: %i, %i, %i', (wins, losses, ties) => {
  const { low, high } = bootstrapNetWins(wins, losses, ties);
  const turned = bootstrapNetWins(losses, wins, ties);
  expect(turned.low).toBeCloseTo(-high, 12);
  expect(turned.high).toBeCloseTo(-low, 12);
  expect(signTest(losses, wins)).toBe(signTest(wins, losses));
});
