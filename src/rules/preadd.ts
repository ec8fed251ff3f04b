import { z } from 'zod';
import { blendRule } from './define.js';

/**
 * Prefix-adaptive decoding: towards what a prefix makes of the prompt, or away from it where the strength is below 0,
 * among the tokens that the prompt's own top-k and top-p keep.
 *
 *     score = log P_base + strength (log P_prefixed - log P_base)
 *
 * The paper has a strength of -1 with a toxic or biased prefix, 2 with one of a sentiment.
 * Source: Pei et al. 2023, arXiv:2307.03214.
 */
export const preadd = blendRule({
  name: 'preadd',
  title: 'Prefix-adaptive decoding',
  formula: 'B + strength (P - B), B = log P(base), P = log P(prefixed)',
  source: 'Pei et al. 2023, arXiv:2307.03214',
  streams: { base: {}, prefixed: { adds: 'negative' } },
  settings: {
    strength: z.number().default(-1).describe('0 is the base alone, below 0 away from the prefix'),
    baseTopK: z.int().min(0).default(0).describe('likeliest tokens of the base; 0 is off'),
    baseTopP: z.number().min(0).max(1).default(1).describe('nucleus of the base; 1 is off'),
  },
  blend: ({ strength, baseTopK, baseTopP }) => ({
    anchor: 'base',
    weights: { prefixed: strength },
    mask: baseTopK > 0 || baseTopP < 1 ? { by: 'base', topK: baseTopK, topP: baseTopP } : undefined,
  }),
});
