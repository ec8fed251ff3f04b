import { z } from 'zod';
import { blendRule } from './define.js';

const streams = { expert: {}, amateur: { model: 'amateur' } } as const;
const source = 'Li et al. 2023, arXiv:2210.15097';

/**
 * Contrastive decoding: what a large model says and a small one does not, among the expert's plausible tokens.
 *
 *     score = log P_e - log P_a(at amateurTemperature)    where P_e >= alpha max P_e
 *
 * A temperature tau of the amateur alone is a weight of 1 / tau: what it adds besides is the same for all tokens.
 * Source: Li et al. 2023, arXiv:2210.15097.
 */
export const cd = blendRule({
  name: 'cd',
  title: 'Contrastive decoding',
  formula: 'E - A / amateurTemperature where P(expert) >= alpha max P(expert)',
  source,
  streams,
  settings: {
    alpha: z.number().min(0).max(1).default(0.1).describe('plausibility of the expert'),
    amateurTemperature: z.number().positive().default(1).describe('tau of the amateur'),
  },
  blend: ({ alpha, amateurTemperature }) => ({
    anchor: 'expert',
    weights: { amateur: -1 / amateurTemperature },
    sum: 1 - 1 / amateurTemperature,
    mask: { by: 'expert', plausibility: alpha },
  }),
});

/**
 * Contrastive decoding as it is used for reasoning, whose weights sum to 1.
 *
 *     score = (1 + beta) log P_e - beta log P_a    where P_e >= alpha max P_e
 *
 * Source: O'Brien and Lewis 2023, arXiv:2309.09117.
 */
export const cdBeta = blendRule({
  name: 'cd-beta',
  title: 'Contrastive decoding for reasoning',
  formula: '(1 + beta) E - beta A where P(expert) >= alpha max P(expert)',
  source: "O'Brien and Lewis 2023, arXiv:2309.09117",
  streams,
  settings: {
    alpha: z.number().min(0).max(1).default(0.1).describe('plausibility of the expert'),
    beta: z.number().min(0).default(0.5).describe('strength of the contrast'),
  },
  blend: ({ alpha, beta }) => ({
    anchor: 'expert',
    weights: { amateur: -beta },
    mask: { by: 'expert', plausibility: alpha },
  }),
});
