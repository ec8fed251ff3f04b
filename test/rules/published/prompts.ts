import { entropy, logSoftmax, masked, nucleus } from '../float64.js';
import { each, type Method, moved, signed, T, temperature, within } from './form.js';

/** Methods that compare prompts of one model. */
export const OF_PROMPTS: Record<string, Method> = {
  plain: {
    anchor: 'prompt',
    away: () => [],
    settings: temperature,
    step: ({ prompt }, s) => ({ score: Float64Array.from(prompt!), temperature: T(s) }),
  },
  edt: {
    anchor: 'prompt',
    away: () => [],
    settings: (r) => ({ ...temperature(r), base: within(r, 0.5, 1), theta: within(r, 0, 2) }),
    step: ({ prompt }, s) => ({
      score: Float64Array.from(prompt!),
      temperature: Math.max(T(s) * s.base ** (s.theta / entropy(prompt!)), 1e-6),
    }),
    nothing: { theta: 0 },
  },
  cfg: {
    anchor: 'conditional',
    away: ({ weight }) => signed(1 - weight, 'unconditional'),
    settings: (r) => ({ weight: within(r, 0.2, 3), ...temperature(r) }),
    step: ({ conditional, unconditional }, s) => {
      const [c, u] = [logSoftmax(conditional!), logSoftmax(unconditional!)];
      return { score: moved(u, s.weight, c, u), temperature: T(s) };
    },
    nothing: { weight: 1 },
  },
  cos: {
    anchor: 'context',
    away: ({ lambda }) => signed(-lambda, 'plain'),
    settings: (r) => ({ lambda: within(r, -0.9, 3), ...temperature(r) }),
    step: ({ context, plain }, s) => {
      const [c, n] = [logSoftmax(context!, T(s)), logSoftmax(plain!, T(s))];
      return { score: moved(c, s.lambda, c, n), temperature: 1 };
    },
    nothing: { lambda: 0, temperature: 1, topP: 1 },
  },
  'linear-alignment': {
    anchor: 'instructed',
    away: ({ ratio }) => signed(-ratio, 'base'),
    settings: (r) => ({
      ratio: within(r, -0.5, 3),
      instructedTopP: within(r, 0.2, 0.7),
      ...temperature(r),
    }),
    step: ({ instructed, base }, s) => {
      const kept = nucleus(instructed!, { topP: s.instructedTopP, tau: T(s) });
      const score = each(base!, (i) => (s.ratio + 1) * instructed![i]! - s.ratio * base![i]!);
      return { score: masked(score, kept), temperature: T(s), margin: kept.margin };
    },
    nothing: { ratio: 0, instructedTopP: 1 },
  },
  preadd: {
    anchor: 'base',
    away: ({ strength }) => signed(strength, 'prefixed'),
    settings: (r) => ({
      strength: within(r, -2, 0.9),
      baseTopK: Math.floor(within(r, 0, 60)),
      baseTopP: within(r, 0.2, 0.7),
      ...temperature(r),
    }),
    step: ({ base, prefixed }, s) => {
      const kept = nucleus(base!, { topK: s.baseTopK, topP: s.baseTopP });
      const score = each(base!, (i) => base![i]! + (prefixed![i]! - base![i]!) * s.strength);
      return { score: masked(score, kept), temperature: T(s), margin: kept.margin };
    },
    nothing: { strength: 0 },
  },
  rose: {
    anchor: 'positive',
    away: ({ alpha }) => signed(-alpha, 'negative'),
    settings: (r) => ({ alpha: within(r, -0.5, 1.5), greedy: false, ...temperature(r) }),
    step: ({ positive, negative }, s) => ({
      score: each(positive!, (i) => positive![i]! - s.alpha * negative![i]!),
      temperature: T(s),
    }),
    nothing: { alpha: 0, greedy: false },
  },
  'instructive-decoding': {
    anchor: 'instructed',
    away: ({ epsilon }) => signed(epsilon, 'noisy'),
    settings: (r) => ({ epsilon: within(r, -1, 0.5), greedy: false, ...temperature(r) }),
    step: ({ instructed, noisy }, s) => ({
      score: each(instructed!, (i) => instructed![i]! + s.epsilon * noisy![i]!),
      temperature: T(s),
    }),
    nothing: { epsilon: 0, greedy: false },
  },
};
