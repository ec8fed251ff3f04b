import type { Estimate } from './win-rates.js';

/** Quantile 0.975 of the normal distribution. */
const Z = 1.959963984540054;

/**
 * Spearman's rank correlation of two lists, -1..1: the Pearson correlation of their ranks, with equal values at the
 * mean of their ranks. The 95% interval is that of Bonett and Wright (Psychometrika 65, 2000), by Fisher's z
 * with a variance of (1 + rho^2 / 2) / (n - 3).
 *
 * @returns null for fewer than four pairs, or where one list has a single value: there is no order to compare
 */
export function spearman(x: readonly number[], y: readonly number[]): Estimate | null {
  if (x.length < 4 || x.length !== y.length) return null;
  const value = pearson(ranks(x), ranks(y));
  if (Number.isNaN(value)) return null;
  const z = Math.atanh(value);
  const width = Z * Math.sqrt((1 + value ** 2 / 2) / (x.length - 3));
  return { value, low: Math.tanh(z - width), high: Math.tanh(z + width) };
}

/** 1 for the smallest; equal values share the mean of their ranks. */
function ranks(values: readonly number[]): number[] {
  const sorted = [...values].sort((a, b) => a - b);
  return values.map((value) => (sorted.indexOf(value) + sorted.lastIndexOf(value)) / 2 + 1);
}

/** NaN where one list has a single value. */
function pearson(x: readonly number[], y: readonly number[]): number {
  const mean = (x.length + 1) / 2; // of ranks
  let [xy, xx, yy] = [0, 0, 0];
  for (const [i, xi] of x.entries()) {
    xy += (xi - mean) * (y[i]! - mean);
    xx += (xi - mean) ** 2;
    yy += (y[i]! - mean) ** 2;
  }
  return Math.max(-1, Math.min(1, xy / Math.sqrt(xx * yy)));
}
