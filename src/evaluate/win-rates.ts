import { bootstrapNetWins, signTest, wilson } from './intervals.js';

/**
 * One pair of responses that was to be judged: the method's and the one that it is measured against, which is called
 * base here. `left-out`: judged, but not to be counted.
 */
export type JudgedPair =
  | {
      readonly status: 'judged';
      readonly item: string;
      readonly winner: 'method' | 'base' | 'tie';
      /** 0..100 */
      readonly method: number;
      readonly base: number;
    }
  | { readonly status: 'failed'; readonly item: string; readonly kind: string }
  | { readonly status: 'left-out'; readonly item: string; readonly why: string };

/** A proportion or rate with a 95% interval. */
export interface Estimate {
  readonly value: number;
  readonly low: number;
  readonly high: number;
}

/** Counts and rates of one method against another. Pairs that failed or are left out enter none of the rates. */
export interface WinRates {
  /** Judged pairs that count */
  readonly judged: number;
  readonly wins: number;
  readonly losses: number;
  readonly ties: number;
  /** Pairs without a verdict, by kind of failure */
  readonly failures: Readonly<Record<string, number>>;
  /** Judged pairs that do not count, by the reason */
  readonly leftOut: Readonly<Record<string, number>>;
  /** Eq 9: (wins - losses) / (wins + losses + ties), -1..1; 95% bootstrap over items. null where nothing was judged */
  readonly winRate: Estimate | null;
  /** (wins + ties / 2) / judged, 0..1; bootstrap over items */
  readonly tiesAsHalf: Estimate | null;
  /** Wins among all judged pairs, 0..1; Wilson */
  readonly winShare: Estimate | null;
  /** The authors' "approximate" count: mean scores at most 3 apart are a tie */
  readonly approximate: {
    readonly wins: number;
    readonly losses: number;
    readonly ties: number;
    readonly winRate: number | null;
  };
  /** Two-sided exact sign test of wins against losses; null without either */
  readonly signTestP: number | null;
}

/** Mean scores at most so far apart are a tie in the "approximate" count. */
export const APPROXIMATE_GAP = 3;

/** Counts and rates of pairs; see `WinRates`. The order of the pairs does not matter. */
export function winRates(pairs: readonly JudgedPair[]): WinRates {
  const judged = pairs.filter((pair) => pair.status === 'judged');
  const counts = { wins: 0, losses: 0, ties: 0 };
  const approximate = { wins: 0, losses: 0, ties: 0 };
  for (const { winner, method, base } of judged) {
    count(counts, winner);
    const near = Math.abs(method - base) <= APPROXIMATE_GAP;
    count(approximate, near ? 'tie' : method > base ? 'method' : 'base');
  }
  const failures = tally(pairs.flatMap((pair) => (pair.status === 'failed' ? pair.kind : [])));
  const leftOut = tally(pairs.flatMap((pair) => (pair.status === 'left-out' ? pair.why : [])));
  const n = judged.length;
  return {
    judged: n,
    ...counts,
    failures,
    leftOut,
    ...(n === 0 ? NOTHING : ratesOf(counts, n)),
    approximate: {
      ...approximate,
      winRate: n === 0 ? null : (approximate.wins - approximate.losses) / n,
    },
    signTestP: signTest(counts.wins, counts.losses),
  };
}

/** How often each text is there. */
export function tally(texts: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const text of texts) counts[text] = (counts[text] ?? 0) + 1;
  return counts;
}

const NOTHING = { winRate: null, tiesAsHalf: null, winShare: null };

function ratesOf({ wins, losses, ties }: Counts, n: number) {
  const { low, high } = bootstrapNetWins(wins, losses, ties);
  return {
    winRate: { value: (wins - losses) / n, low, high },
    // (wins + ties / 2) / n is ((wins - losses) / n + 1) / 2, and so are its quantiles
    tiesAsHalf: { value: (wins + ties / 2) / n, low: (low + 1) / 2, high: (high + 1) / 2 },
    winShare: { value: wins / n, ...wilson(wins, n) },
  };
}

interface Counts {
  wins: number;
  losses: number;
  ties: number;
}

function count(counts: Counts, winner: 'method' | 'base' | 'tie'): void {
  if (winner === 'method') counts.wins++;
  else if (winner === 'base') counts.losses++;
  else counts.ties++;
}
