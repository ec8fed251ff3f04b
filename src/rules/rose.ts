import { z } from 'zod';
import { blendRule, SAMPLING } from './define.js';

/**
 * Reverse prompt contrastive decoding: away from what a harmful system prompt brings out.
 *
 *     score = log P_positive - alpha log P_negative
 *
 * The weights sum to 1 - alpha: what both streams agree on counts half as much as in plain decoding.
 * Source: Zhong et al. 2024, ROSE, Findings of ACL.
 */
export const rose = blendRule({
  name: 'rose',
  title: 'Reverse prompt contrastive decoding',
  formula: 'P - alpha N, P = log P(positive), N = log P(negative)',
  source: 'Zhong et al. 2024, Findings of ACL',
  streams: { positive: { adds: 'instruction' }, negative: { adds: 'negative' } },
  settings: {
    alpha: z.number().default(0.5).describe('0 is plain decoding of the positive stream'),
    greedy: SAMPLING.greedy.default(true),
  },
  blend: ({ alpha }) => ({ anchor: 'positive', weights: { negative: -alpha }, sum: 1 - alpha }),
});
