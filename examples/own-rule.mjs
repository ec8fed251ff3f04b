import { blendRule } from 'sda-tfjs';
import { z } from 'zod';

/** Guidance towards an instruction that keeps to what the model would say without it. */
export default blendRule({
  name: 'cautious',
  title: 'Guidance among the tokens that are plausible anyway',
  formula: 'T + weight (T - U) where P(untold) >= alpha max P(untold)',
  source: 'an example',
  streams: { told: { adds: 'instruction' }, untold: {} },
  settings: {
    weight: z.number().min(0).default(1).describe('0 is plain decoding of the told stream'),
    alpha: z.number().min(0).max(1).default(0.1).describe('plausibility of the untold stream'),
    details: z.boolean().default(true).describe('entropies, kept mass and weights in each step'),
  },
  blend: ({ weight, alpha }) => ({
    anchor: 'told',
    weights: { untold: -weight },
    mask: { by: 'untold', plausibility: alpha },
  }),
});
