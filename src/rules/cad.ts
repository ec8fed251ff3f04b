import { z } from 'zod';
import { blendRule } from './define.js';

const streams = { context: { adds: 'instruction' }, plain: {} } as const;

/**
 * Context-aware decoding: away from what the model would say without the context.
 *
 *     score = (1 + alpha) log P_context - alpha log P_plain
 *
 * The paper has alpha 0.5 for summaries and 1 where context and memory contradict each other.
 * Source: Shi et al. 2023, arXiv:2305.14739.
 */
export const cad = blendRule({
  name: 'cad',
  title: 'Context-aware decoding',
  formula: '(1 + alpha) C - alpha N, C = log P(context), N = log P(plain)',
  source: 'Shi et al. 2023, arXiv:2305.14739',
  streams,
  settings: { alpha: z.number().default(0.5).describe('0 is plain decoding with the context') },
  blend: ({ alpha }) => ({ anchor: 'context', weights: { plain: -alpha } }),
});

/**
 * Context-aware decoding whose alpha is, in each step, how far the context moves the model.
 *
 *     score = (1 + alpha) log P_context - alpha log P_plain    alpha = max(floor, JS), nats, at most ln 2
 *
 * The paper has a floor of 0.3 for long answers. Each query has its own JS, whatever else is in its batch.
 * Source: Wang et al. 2024, arXiv:2409.07394.
 */
export const adacad = blendRule({
  name: 'adacad',
  title: 'Adaptive context-aware decoding',
  formula: '(1 + alpha) C - alpha N, alpha = max(floor, JS), C = log P(context), N = log P(plain)',
  source: 'Wang et al. 2024, arXiv:2409.07394',
  streams,
  settings: { floor: z.number().min(0).default(0).describe('least alpha; 0.3 for long answers') },
  blend: ({ floor }) => ({
    anchor: 'context',
    weights: { plain: -1 },
    byDivergence: { floor },
  }),
});
