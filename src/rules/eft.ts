import { z } from 'zod';
import { blendRule } from './define.js';

/**
 * Emulated fine-tuning: what tuning does at one scale, put on what pre-training does at another.
 *
 *     score = log P_base + beta (log P_small-tuned - log P_small-base)
 *
 * Source: Mitchell et al. 2023, arXiv:2310.12962.
 */
export const eft = blendRule({
  name: 'eft',
  title: 'Emulated fine-tuning',
  formula: 'B + beta (T - S), B, T, S = log P of base, smallTuned, smallBase',
  source: 'Mitchell et al. 2023, arXiv:2310.12962',
  streams: {
    base: {},
    smallTuned: { model: 'small-tuned' },
    smallBase: { model: 'small-base' },
  },
  settings: { beta: z.number().default(1).describe('0 is the base alone') },
  blend: ({ beta }) => ({ anchor: 'base', weights: { smallTuned: beta, smallBase: -beta } }),
});
