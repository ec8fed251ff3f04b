import type { Tensor1D, Tensor2D } from '@tensorflow/tfjs-core';
import { attr, executeOp } from '../../src/runtime/backend.js';
import { defineKernel } from '../define.js';
import { checkShape, streamsOf } from '../shapes.js';
import { stepStatsWidth } from '../step/contract.js';
import { sampleReference } from './reference.js';
import { GREEDY, SAMPLE_SETTINGS_WIDTH, type SampleKinds } from './settings.js';

export { type Cuts, SAMPLE_SETTINGS, type SampleKinds, sampleSettings } from './settings.js';

/** Columns of a draw, one line a query. */
export const DRAW = {
  /** The drawn token id */
  id: 0,
  /** Its log-probability under P' before top-k, top-p and min-p cut the tail */
  logp: 1,
  /** The first of S columns: its log-probability in each stream at temperature 1 */
  streams: 2,
} as const;

/** The first of the columns with the step's statistics, see `STEP_STATS`. */
export function drawStats(streams: number): number {
  return DRAW.streams + streams;
}

export interface SampleArgs extends SampleKinds {
  /** float32 [B, V]: normalised log-probabilities (log P' of `step`) */
  readonly logProbs: Tensor2D;
  /** float32 [S B, V], and [B, W]: the logits and statistics of the same step */
  readonly logits: Tensor2D;
  readonly stats: Tensor2D;
  /** float32 [B, 4]: the cuts of each query, see `sampleSettings` */
  readonly settings: Tensor2D;
  /** float32 [B]: one number in 0..1 (1 excluded) a query, from a seeded generator */
  readonly uniforms: Tensor1D;
}

export type SampleInputs = {
  logProbs: Tensor2D;
  logits: Tensor2D;
  stats: Tensor2D;
  settings: Tensor2D;
  uniforms: Tensor1D;
};

const run = defineKernel<SampleInputs, SampleKinds>({
  name: 'SdaSample',
  native: ({ logProbs, logits, stats, settings, uniforms }, { topK, greedy }) =>
    executeOp(
      'SdaSample',
      [attr.ints('kinds', [Number(topK), GREEDY.indexOf(greedy)])],
      [logProbs, logits, stats, settings, uniforms],
    ),
  reference: sampleReference,
});

/**
 * Draws one token a query. Tokens are ranked by log-probability, ties by the lower id. The cuts keep a
 * prefix of that ranking: top-k first, then the nucleus over the mass that is left, then min-p. Among the
 * kept tokens, taken in order of their ids, the draw is the first whose cumulative mass exceeds
 * uniform * total. Greedy queries take the first of the ranking.
 *
 * @returns float32 [B, 2 + S + W], see `DRAW` and `drawStats`: all that a step reads back. The caller disposes it.
 * @throws SdaError `bad-tensor` when shapes disagree.
 */
export function sample(args: SampleArgs): Tensor2D {
  const { logProbs, logits, stats, settings, uniforms, topK, greedy } = args;
  const [B, V] = logProbs.shape;
  checkShape('sample', 'logProbs', logProbs, [null, null]);
  checkShape('sample', 'settings', settings, [B, SAMPLE_SETTINGS_WIDTH]);
  checkShape('sample', 'uniforms', uniforms, [B]);
  checkShape('sample', 'logits', logits, [null, V]);
  const streams = streamsOf('sample', logits, B);
  const details = stats.shape[1] !== stepStatsWidth(streams, false);
  checkShape('sample', 'stats', stats, [B, stepStatsWidth(streams, details)]);
  const [draw] = run({ logProbs, logits, stats, settings, uniforms }, { topK, greedy });
  return draw as Tensor2D;
}
