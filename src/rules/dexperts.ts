import { z } from 'zod';
import { blendRule } from './define.js';

const streams = {
  base: {},
  expert: { model: 'expert' },
  antiExpert: { model: 'anti-expert' },
} as const;

/**
 * Decoding-time experts: a model of what is wanted and one of what is not, among the tokens that the base's own
 * nucleus keeps.
 *
 *     score = log P_base + alpha (log P_expert - log P_anti-expert)    over the top-p of P_base at temperature 1
 *
 * The paper has alpha 2 against toxicity, 3.2 and -3.2 for sentiment.
 * Source: Liu et al. 2021, arXiv:2105.03023.
 */
export const dexperts = blendRule({
  name: 'dexperts',
  title: 'Decoding-time experts',
  formula:
    'B + alpha (E - A) over the nucleus of the base, B, E, A = log P of base, expert, antiExpert',
  source: 'Liu et al. 2021, arXiv:2105.03023',
  streams,
  settings: {
    alpha: z.number().default(2).describe('0 is the base alone'),
    baseTopP: z.number().min(0).max(1).default(0.9).describe('nucleus of the base; 1 is off'),
  },
  blend: ({ alpha, baseTopP }) => ({
    anchor: 'base',
    weights: { expert: alpha, antiExpert: -alpha },
    mask: baseTopP < 1 ? { by: 'base', topP: baseTopP } : undefined,
  }),
});

/**
 * Proxy-tuning: a large model moved as a small one was by its tuning.
 *
 *     score = log P_base + alpha (log P_expert - log P_anti-expert)    expert: the small model tuned, anti-expert: untuned
 *
 * Source: Liu et al. 2024, arXiv:2401.08565.
 */
export const proxyTuning = blendRule({
  name: 'proxy-tuning',
  title: 'Proxy-tuning',
  formula: 'B + alpha (E - A), B, E, A = log P of base, expert, antiExpert',
  source: 'Liu et al. 2024, arXiv:2401.08565',
  streams,
  settings: { alpha: z.number().default(1).describe('0 is the base alone') },
  blend: ({ alpha }) => ({ anchor: 'base', weights: { expert: alpha, antiExpert: -alpha } }),
});
