import { z } from 'zod';
import { blendRule } from './define.js';

/**
 * Entropy-based dynamic temperature: a sure model samples coldly, one in doubt at nearly T0.
 *
 *     T = T0 N^(theta / H)    H the entropy of the distribution, nats; T0 is `temperature`, N is `base`
 *
 * The paper tunes T0 and theta for each task. theta = 0 is T0 everywhere.
 * Source: Zhang et al. 2024, arXiv:2403.14541.
 */
export const edt = blendRule({
  name: 'edt',
  title: 'Entropy-based dynamic temperature',
  formula: 'P / (temperature base^(theta / H)), P = log P(prompt), H its entropy',
  source: 'Zhang et al. 2024, arXiv:2403.14541',
  streams: { prompt: { adds: 'instruction' } },
  settings: {
    base: z.number().positive().max(1).default(0.8).describe('N'),
    theta: z.number().min(0).default(1.5).describe('how much colder a sure model samples'),
  },
  blend: ({ temperature: t0, base, theta }) => ({
    anchor: 'prompt',
    weights: {},
    temperature: { t0, base, theta },
  }),
});
