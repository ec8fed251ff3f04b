// Intervals and a test for counts of wins, losses and ties. Everything is computed, nothing drawn: the same counts
// always give the same numbers.

/** Half the width of a 95% interval of the normal distribution. */
const Z95 = 1.959963984540054;

export interface Interval {
  readonly low: number;
  readonly high: number;
}

/**
 * Wilson's 95% score interval of a proportion (Wilson 1927), without continuity correction.
 *
 * @param successes 0..count
 * @param count at least 1
 */
export function wilson(successes: number, count: number): Interval {
  const p = successes / count;
  const z2 = Z95 * Z95;
  const centre = p + z2 / (2 * count);
  const spread = Z95 * Math.sqrt((p * (1 - p) + z2 / (4 * count)) / count);
  const scale = 1 + z2 / count;
  return {
    low: successes === 0 ? 0 : (centre - spread) / scale,
    high: successes === count ? 1 : (centre + spread) / scale,
  };
}

/**
 * Two-sided exact sign test: how likely so uneven a split is where both outcomes are equally likely.
 *
 * @returns p, 0..1; null where there is neither a win nor a loss
 */
export function signTest(wins: number, losses: number): number | null {
  const n = wins + losses;
  if (n === 0) return null;
  let logTerm = -n * Math.LN2; // log of C(n, 0) / 2^n
  let tail = 0;
  for (let k = 0; k <= Math.min(wins, losses); k++) {
    tail += Math.exp(logTerm);
    logTerm += Math.log((n - k) / (k + 1));
  }
  return Math.min(1, 2 * tail);
}

/** Standard deviations beyond which the distribution of a sum is left out: less than 1e-20 of it. */
const REACH = 10;

/**
 * The 95% percentile bootstrap interval of (wins - losses) / n over items, in the limit of infinitely many resamples:
 * the exact distribution of the sum of n outcomes +1, 0, -1 drawn with replacement, built up outcome by outcome.
 *
 * @returns within -1..1; n = wins + losses + ties must be at least 1
 */
export function bootstrapNetWins(wins: number, losses: number, ties: number): Interval {
  const n = wins + losses + ties;
  const [up, down, level] = [wins / n, losses / n, ties / n];
  const mean = up - down;
  const deviation = Math.sqrt(up + down - mean * mean);
  // chance[s + n] is that of the sum s; only sums within reach of the mean are kept
  let chance = new Float64Array(2 * n + 1);
  let next = new Float64Array(2 * n + 1);
  chance[n] = 1;
  for (let drawn = 1; drawn <= n; drawn++) {
    const [from, to] = reach(drawn, mean, deviation);
    next.fill(0, Math.max(0, n + from - 1), n + to + 2);
    for (let sum = from; sum <= to; sum++) {
      const at = n + sum;
      next[at] = level * chance[at]! + up * (chance[at - 1] ?? 0) + down * (chance[at + 1] ?? 0);
    }
    [chance, next] = [next, chance];
  }
  const [from, to] = reach(n, mean, deviation);
  const quantile = (share: number) => {
    let below = 0;
    for (let sum = from; sum <= to; sum++) {
      below += chance[n + sum]!;
      if (below >= share - 1e-12) return sum / n;
    }
    return to / n;
  };
  return { low: quantile(0.025), high: quantile(0.975) };
}

/** The sums of `drawn` outcomes that are looked at. */
function reach(drawn: number, mean: number, deviation: number): [number, number] {
  const width = REACH * deviation * Math.sqrt(drawn) + 10;
  return [
    Math.max(-drawn, Math.floor(drawn * mean - width)),
    Math.min(drawn, Math.ceil(drawn * mean + width)),
  ];
}
