import { z } from 'zod';
import { blendRule } from './define.js';

/**
 * Classifier-free guidance of a language model.
 *
 *     score = log P_u + g (log P_c - log P_u)
 *
 * c has the instruction, u the query alone, or a negative instruction. SDA with k a = g - 1 at a fixed temperature.
 * Source: Sanchez et al. 2023, arXiv:2306.17806; `guidance_scale` of transformers.
 */
export const cfg = blendRule({
  name: 'cfg',
  title: 'Classifier-free guidance',
  formula: 'U + weight (C - U), C = log P(conditional), U = log P(unconditional)',
  source: 'Sanchez et al. 2023, arXiv:2306.17806',
  streams: { conditional: { adds: 'instruction' }, unconditional: { adds: 'negative' } },
  settings: {
    weight: z.number().default(1.5).describe('g; 1 is plain decoding of the conditional stream'),
  },
  blend: ({ weight }) => ({ anchor: 'conditional', weights: { unconditional: 1 - weight } }),
});
