/** One pair of responses that was to be judged: the method's and the base model's. */
export type JudgedPair =
  | {
      readonly status: 'judged';
      readonly item: string;
      readonly winner: 'method' | 'base' | 'tie';
      /** 0..100 */
      readonly method: number;
      readonly base: number;
    }
  | { readonly status: 'failed'; readonly item: string; readonly kind: string };

/** A proportion or rate with a 95% interval. */
export interface Estimate {
  readonly value: number;
  readonly low: number;
  readonly high: number;
}

/** Counts and rates of one method against the base model. Failed pairs enter none of the rates. */
export interface WinRates {
  /** Judged pairs */
  readonly judged: number;
  readonly wins: number;
  readonly losses: number;
  readonly ties: number;
  /** Pairs without a verdict, by kind of failure */
  readonly failures: Readonly<Record<string, number>>;
  /** Eq 9: (wins - losses) / (wins + losses + ties), -1..1; bootstrap over items. null where nothing was judged */
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
