import { z } from 'zod';
import { blendRule } from './define.js';

/**
 * Linear alignment: along the direction of an instruction, among the tokens that the instructed nucleus keeps.
 *
 *     score = (1 + ratio) log P_instructed - ratio log P_base    over the top-p of P_instructed at T
 *
 * At T = 0, which takes the likeliest of them, the nucleus is taken at temperature 1.
 * Source: Gao et al. 2024, arXiv:2401.11458.
 */
export const linearAlignment = blendRule({
  name: 'linear-alignment',
  title: 'Linear alignment',
  formula:
    '(1 + ratio) I - ratio B over the nucleus of I at the temperature, I = log P(instructed), B = log P(base)',
  source: 'Gao et al. 2024, arXiv:2401.11458',
  streams: { instructed: { adds: 'instruction' }, base: {} },
  settings: {
    ratio: z.number().default(2).describe('0 is plain decoding of the instructed stream'),
    instructedTopP: z.number().min(0).max(1).default(0.8).describe('nucleus of I; 1 is off'),
  },
  blend: ({ ratio, instructedTopP, temperature }) => ({
    anchor: 'instructed',
    weights: { base: -ratio },
    mask:
      instructedTopP < 1
        ? { by: 'instructed', topP: instructedTopP, temperature: temperature || 1 }
        : undefined,
  }),
});
