import type { Tensor1D, Tensor2D } from '@tensorflow/tfjs-core';

/**
 * log P1 is floored here, so that a token masked in the base stream alone keeps a finite (and strongly
 * preferred) steered log-probability.
 */
export const LOG_PROB_FLOOR = -1e4;

/** Columns of the step's statistics, one line a query. */
export const STEP_STATS = {
  /** Jensen-Shannon divergence of P1 and P2, nats, 0..ln 2 (eq 6) */
  js: 0,
  /** T (eq 7) */
  temperature: 1,
  /** log of the sum of exp(logit) of each stream, so that log P1 = logit - logZBase */
  logZBase: 2,
  logZInstructed: 3,
  /** First stream (0 base, 1 instructed) with a logit that is NaN or +Infinity, or with none finite; else -1 */
  badStream: 4,
  /** The token of that logit; -1 where no token can be named */
  badToken: 5,
} as const;
export const STEP_STATS_WIDTH = 6;

export interface SdaStepArgs {
  /**
   * float32 [2 B, V]: for query b, line 2 b is the base stream (Q), line 2 b + 1 the instructed one (Q and I);
   * or [B, V]: one stream a query, which serves as both.
   */
  readonly logits: Tensor2D;
  /** float32 [B]: k * a of each query (eq 5). */
  readonly strength: Tensor1D;
  /** Base temperature T0, > 0 (eq 7) */
  readonly t0: number;
  /** Sensitivity, > 0; Infinity switches the scaling off: T = max(tMin, T0) (eq 7) */
  readonly sigma: number;
  /** Lower bound of T, >= 0 (eq 7) */
  readonly tMin: number;
  /** alpha in 0..1: tokens with P2 below alpha times its largest are masked; 0 = off (beyond the paper) */
  readonly plausibility: number;
  /** Take P1 instead of eq 5: decoding as the base model would. */
  readonly base: boolean;
}

export type SdaStepInputs = { logits: Tensor2D; strength: Tensor1D };
export type SdaStepAttrs = Omit<SdaStepArgs, 'logits' | 'strength'>;
