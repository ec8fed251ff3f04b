import type { Tensor1D, Tensor2D } from '@tensorflow/tfjs-core';

/** Streams a query can have. */
export const MOST_STREAMS = 8;

/**
 * Log-probabilities of a stream with a negative weight are floored here, so that a token that is impossible there
 * alone keeps a finite (and strongly preferred) score.
 */
export const LOG_PROB_FLOOR = -1e4;

/** Columns of a query's numbers, see `StepNumbers`; the weights of all streams follow. */
export const STEP_NUMBERS = {
  total: 0,
  positiveFloor: 1,
  t0: 2,
  sigma: 3,
  tMin: 4,
  weightFloor: 5,
  alpha: 6,
  entropyBase: 7,
  theta: 8,
  weights: 9,
} as const;

/** Columns of the step's statistics, one line a query. */
export const STEP_STATS = {
  /** Jensen-Shannon divergence of the pair, nats, 0..ln 2 */
  js: 0,
  /** T */
  temperature: 1,
  /**
   * First stream with a logit that is NaN or +Infinity, or with none finite; S where every stream is sound, but mask
   * and weights leave no token; else -1
   */
  badStream: 2,
  /** The token of that logit; -1 where no token can be named */
  badToken: 3,
  /** The first of S columns: log of the sum of exp(logit) of each stream, so that L = logit - log Z */
  logZ: 4,
} as const;

/** Columns that `details` adds to the statistics of S streams. */
export function stepDetails(streams: number) {
  const first = STEP_STATS.logZ + streams;
  return {
    /** Entropy of softmax(score), masked and at temperature 1, nats */
    scoreEntropy: first,
    /** Jensen-Shannon divergence of all streams, equal weights, nats, 0..ln S */
    generalJs: first + 1,
    /** Probability, in the mask's stream, of the tokens that the mask keeps; 1 without a mask */
    keptMass: first + 2,
    /** The first of S columns: entropy of each stream, nats */
    entropies: first + 3,
    /** The first of S columns: w of each stream, with which the score is the sum of w L */
    weights: first + 3 + streams,
  } as const;
}

/** Width of a line of statistics. */
export function stepStatsWidth(streams: number, details: boolean): number {
  return STEP_STATS.logZ + streams + (details ? 3 + 2 * streams : 0);
}

/** Rules by name, in the order in which the native form numbers them. */
export const WEIGHTS = ['fixed', 'js'] as const;
export const MASKS = ['none', 'plausible', 'least'] as const;
export const TEMPERATURES = ['fixed', 'divergence', 'entropy'] as const;

/** How streams are combined: shared by the queries of a call. */
export interface StepKinds {
  /** The stream that the score starts from; what is impossible in it stays impossible. */
  readonly anchor: number;
  /** The two streams whose divergence is measured; the same one twice: 0 */
  readonly pair: readonly [number, number];
  /** `js`: weights are multiplied by max(weightFloor, JS) (as AdaCAD does); default `fixed` */
  readonly weights?: (typeof WEIGHTS)[number];
  /**
   * Which tokens can be drawn, by the stream m = `maskStream`: `plausible`: those with P_m >= alpha times the largest
   * P_m; `least`: those with a logit of at least `least` (see the kernel `cut`); default `none`: all
   */
  readonly mask?: (typeof MASKS)[number];
  /** Default: the anchor */
  readonly maskStream?: number;
  /**
   * `fixed`: T0; `divergence`: max(Tmin, T0 0.5^(JS / sigma)) (eq 7 of SDA); `entropy`: max(Tmin, T0 N^(theta / H)), H
   * the entropy of softmax(score) (EDT); default `fixed`
   */
  readonly temperature?: (typeof TEMPERATURES)[number];
  /** Adds the statistics of `stepDetails`; default false, which costs nothing */
  readonly details?: boolean;
}

export interface StepArgs extends StepKinds {
  /** float32 [S B, V], S = 1..8: stream s of query b is line S b + s. */
  readonly logits: Tensor2D;
  /** float32 [B, 9 + S]: the numbers of each query, see `stepNumbers`. */
  readonly numbers: Tensor2D;
  /** float32 [B]: the least logit that the mask `least` keeps. */
  readonly least?: Tensor1D | undefined;
}

export type StepInputs = {
  logits: Tensor2D;
  numbers: Tensor2D;
  least: Tensor1D | undefined;
};
export type StepAttrs = { readonly [K in keyof StepKinds]-?: Exclude<StepKinds[K], undefined> };
