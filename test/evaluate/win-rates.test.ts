import { describe, expect, test } from 'vitest';
import { type JudgedPair, winRates } from '../../src/evaluate/win-rates.js';

const FAILED: JudgedPair = { status: 'failed', item: 'x', kind: 'refused' };

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

  test('of ties alone are 0, without a sign test', () => {
    const rates = winRates([pair('tie', 50, 50), pair('tie', 90, 20)]);
    expect(rates).toMatchObject({ judged: 2, wins: 0, losses: 0, ties: 2, signTestP: null });
    expect(rates.winRate).toEqual({ value: 0, low: 0, high: 0 });
    expect(rates.tiesAsHalf).toEqual({ value: 0.5, low: 0.5, high: 0.5 });
    expect(rates.approximate).toEqual({ wins: 1, losses: 0, ties: 1, winRate: 0.5 });
  });

  test('of wins alone have a bootstrap without width, and a Wilson interval with one', () => {
    const rates = winRates(Array.from({ length: 4 }, () => pair('method', 90, 20)));
    expect(rates.winRate).toEqual({ value: 1, low: 1, high: 1 });
    expect(rates.winShare!.high).toBe(1);
    expect(rates.winShare!.low).toBeCloseTo(0.5101091635, 9); // proportion_confint(4, 4, method='wilson')
    expect(rates.signTestP).toBeCloseTo(0.125, 12);
  });

  test('do not depend on the order of the pairs', () => {
    const pairs = [pair('method', 80, 60), pair('base', 40, 90), pair('tie', 70, 50)];
    expect(winRates([...pairs].reverse())).toEqual(winRates(pairs));
  });

  test.each([[[]], [[FAILED]]])('are absent where nothing was judged: %j', (pairs) => {
    const rates = winRates(pairs);
    expect(rates).toMatchObject({ judged: 0, winRate: null, tiesAsHalf: null, signTestP: null });
    expect(rates.approximate.winRate).toBeNull();
  });
});
