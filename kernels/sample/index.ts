import type { Tensor1D, Tensor2D } from '@tensorflow/tfjs-core';
import { attr, executeOp } from '../../src/runtime/backend.js';
import { defineKernel } from '../define.js';
import { STEP_STATS_WIDTH } from '../sda-step/index.js';
import { checkShape, checkStreams } from '../shapes.js';
import { sampleReference } from './reference.js';

/** Columns of a draw, one line a query. */
export const DRAW = {
  /** The drawn token id */
  id: 0,
  /** Its log-probability under P' (eq 8) before top-k, top-p and min-p cut the tail */
  logp: 1,
  /** ... under P1 and P2 at temperature 1 */
  logpBase: 2,
  logpInstructed: 3,
  /** The step's statistics, see `STEP_STATS` */
  js: 4,
  temperature: 5,
  badStream: 6,
  badToken: 7,
} as const;
export const DRAW_WIDTH = 8;

export interface SampleArgs {
  /** float32 [B, V]: normalised log-probabilities (log P' of `sdaStep`) */
  readonly logProbs: Tensor2D;
  /** float32 [2 B, V] or [B, V], and [B, 6]: the logits and statistics of the same step */
  readonly logits: Tensor2D;
  readonly stats: Tensor2D;
  /** float32 [B]: one number in 0..1 (1 excluded) a query, from a seeded generator */
  readonly uniforms: Tensor1D;
  /** Keep the k likeliest tokens; 0 = all */
  readonly topK: number;
  /** Nucleus: keep the fewest likeliest tokens whose mass reaches topP, at least one; 1 = all */
  readonly topP: number;
  /** Keep tokens at least minP times as likely as the likeliest; 0 = all */
  readonly minP: number;
  /** Take the likeliest token, the lowest id of equals; `uniforms` and the cuts are ignored. */
  readonly greedy: boolean;
}

export type SampleInputs = {
  logProbs: Tensor2D;
  logits: Tensor2D;
  stats: Tensor2D;
  uniforms: Tensor1D;
};
export type SampleAttrs = Pick<SampleArgs, 'topK' | 'topP' | 'minP' | 'greedy'>;

const run = defineKernel<SampleInputs, SampleAttrs>({
  name: 'SdaSample',
  native: ({ logProbs, logits, stats, uniforms }, { topK, topP, minP, greedy }) =>
    executeOp(
      'SdaSample',
      [
        attr.int('top_k', topK),
        attr.float('top_p', topP),
        attr.float('min_p', minP),
        attr.bool('greedy', greedy),
      ],
      [logProbs, logits, stats, uniforms],
    ),
  reference: sampleReference,
});

/**
 * Draws one token a query. Tokens are ranked by log-probability, ties by the lower id. The cuts keep a
 * prefix of that ranking: top-k first, then the nucleus over the mass that is left, then min-p. Among the
 * kept tokens, taken in order of their ids, the draw is the first whose cumulative mass exceeds
 * uniform * total.
 *
 * @returns float32 [B, 8], see `DRAW`: all that a step reads back. The caller disposes it.
 * @throws SdaError `bad-tensor` when shapes disagree.
 */
export function sample({ logProbs, logits, stats, uniforms, ...attrs }: SampleArgs): Tensor2D {
  const [B, V] = logProbs.shape;
  checkShape('sample', 'logProbs', logProbs, [null, null]);
  checkStreams('sample', logits, B);
  checkShape('sample', 'logits', logits, [null, V]);
  checkShape('sample', 'stats', stats, [B, STEP_STATS_WIDTH]);
  checkShape('sample', 'uniforms', uniforms, [B]);
  const [draw] = run({ logProbs, logits, stats, uniforms }, attrs);
  return draw as Tensor2D;
}
