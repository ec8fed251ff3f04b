import {
  add,
  cast,
  greater,
  less,
  logicalAnd,
  logicalOr,
  max,
  min,
  sub,
  sum,
  where,
} from '@tensorflow/tfjs-core';
import { z } from 'zod';
import { SAMPLING } from './define.js';
import { scoreRule } from './score.js';
import { weighted } from './weighted.js';

/**
 * Contextual information-entropy constrained decoding: which tokens start from the context, and which from memory.
 *
 *     score = log P_context + alpha (log P_context - log P_plain)    where c = 1
 *             log P_plain   + alpha (log P_context - log P_plain)    where c = 0
 *
 * c = 1 above 1 / ratio of the largest P_context, if more than one token is; and below ratio times the smallest. The
 * published code (`decoding.py` of Stacy027/COIECD) shifts the bounds by an entropy, which cancels in its softmax. The
 * smallest is looked for among possible tokens.
 * Source: Yuan et al. 2024, arXiv:2402.11893.
 */
export const coiecd = scoreRule({
  name: 'coiecd',
  title: 'Contextual information-entropy constrained decoding',
  formula:
    'C + alpha (C - N) where C is above max C - log(ratio) or below min C + log(ratio), else N + alpha (C - N), C = log P(context), N = log P(plain)',
  source: 'Yuan et al. 2024, arXiv:2402.11893',
  streams: { context: { adds: 'instruction' }, plain: {} },
  anchor: 'context',
  settings: {
    alpha: z.number().default(1).describe('strength of the contrast'),
    ratio: z.number().min(1).default(4).describe('how far from the extremes c reaches'),
    greedy: SAMPLING.greedy.default(true),
  },
  score: ({ context, plain }, { alpha, ratio }) => {
    const width = Math.log(ratio);
    const least = min(
      where(greater(context, Number.NEGATIVE_INFINITY), context, Number.POSITIVE_INFINITY),
    );
    const likely = greater(context, sub(max(context), width));
    const several = greater(sum(cast(likely, 'int32')), 1);
    const unlikely = less(context, add(least, width));
    const fromContext = logicalOr(logicalAnd(likely, several), unlikely);
    const mix = (ofContext: number, ofPlain: number) =>
      add(weighted(context, ofContext), weighted(plain, ofPlain));
    return where(fromContext, mix(1 + alpha, -alpha), mix(alpha, 1 - alpha));
  },
});
