import { z } from 'zod';
import { blendRule, SAMPLING } from './define.js';

/**
 * Instructive decoding: away from what a noisy instruction, such as its opposite, makes of the query.
 *
 *     score = log P_instructed + epsilon log P_noisy
 *
 * The weights sum to 1 + epsilon.
 * Source: Kim et al. 2023, arXiv:2311.00233.
 */
export const instructiveDecoding = blendRule({
  name: 'instructive-decoding',
  title: 'Instructive decoding',
  formula: 'I + epsilon N, I = log P(instructed), N = log P(noisy)',
  source: 'Kim et al. 2023, arXiv:2311.00233',
  streams: { instructed: { adds: 'instruction' }, noisy: { adds: 'negative' } },
  settings: {
    epsilon: z.number().default(-0.3).describe('0 is plain decoding of the instructed stream'),
    greedy: SAMPLING.greedy.default(true),
  },
  blend: ({ epsilon }) => ({
    anchor: 'instructed',
    weights: { noisy: epsilon },
    sum: 1 + epsilon,
  }),
});
