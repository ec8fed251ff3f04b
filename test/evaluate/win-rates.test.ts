import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { bootstrapNetWins, signTest, wilson } from '../../src/evaluate/intervals.js';
import { type JudgedPair, winRates } from '../../src/evaluate/win-rates.js';
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

  test.runIf(counts.bootstrap_scipy)('are one outcome from scipy’s resamples at most', () => {
    const { low, high } = bootstrapNetWins(wins, losses, ties);
    const step = 1 / n + 1e-9; // a percentile lies on a grid; drawn resamples may miss it by one
    expect(Math.abs(low - counts.bootstrap_scipy![0])).toBeLessThanOrEqual(step);
    expect(Math.abs(high - counts.bootstrap_scipy![1])).toBeLessThanOrEqual(step);
  });
});

test('an interval of many items is that of the normal distribution', () => {
  const [wins, losses, ties] = [4100, 3300, 2600];
  const { low, high } = bootstrapNetWins(wins, losses, ties);
  const n = wins + losses + ties;
  const mean = (wins - losses) / n;
  const error = Math.sqrt(((wins + losses) / n - mean * mean) / n);
  expect(low).toBeCloseTo(mean - 1.96 * error, 3);
  expect(high).toBeCloseTo(mean + 1.96 * error, 3);
});

describe('win rates', () => {
  const pair = (winner: 'method' | 'base' | 'tie', method: number, base: number): JudgedPair => ({
    status: 'judged',
    item: `${winner} ${method} ${base}`,
    winner,
    method,
    base,
  });

  test('count as eq 9, ties as half, and the approximate count of gaps of at most 3', () => {
    const rates = winRates([
      pair('method', 80, 60),
      pair('method', 63, 60), // a gap of 3 is a tie in the approximate count
      pair('method', 63.5, 60),
      pair('base', 40, 90),
      pair('tie', 70, 50), // the orders disagreed
      { status: 'failed', item: 'x', kind: 'refused' },
      { status: 'failed', item: 'y', kind: 'refused' },
      { status: 'failed', item: 'z', kind: 'unreachable' },
    ]);
    expect(rates).toMatchObject({ judged: 5, wins: 3, losses: 1, ties: 1 });
    expect(rates.winRate!.value).toBeCloseTo(0.4, 12);
    expect(rates.tiesAsHalf!.value).toBeCloseTo(0.7, 12);
    expect(rates.winShare!.value).toBeCloseTo(0.6, 12);
    expect(rates.approximate).toEqual({ wins: 3, losses: 1, ties: 1, winRate: 0.4 });
    expect(rates.failures).toEqual({ refused: 2, unreachable: 1 });
    expect(rates.signTestP).toBeCloseTo(0.625, 12);
  });

  test('are absent where nothing was judged', () => {
    const rates = winRates([{ status: 'failed', item: 'x', kind: 'refused' }]);
    expect(rates).toMatchObject({ judged: 0, winRate: null, tiesAsHalf: null, signTestP: null });
    expect(rates.approximate.winRate).toBeNull();
  });
});
