import { jensenShannon, logSoftmax, masked, plausible } from '../float64.js';
import { each, type Method, type Settings, within } from './form.js';

/** Eq 7 */
export const fromSda = (js: number, s: Settings) =>
  Math.max(s.tMin, (s.t0 ?? s.temperature) * 0.5 ** (js / s.sigma));

/** SDA. */
export const OF_SDA: Record<string, Method> = {
  sda: {
    anchor: 'instructed',
    away: () => ['base'],
    settings: (r) => ({
      amplification: within(r, -0.5, 1),
      k: within(r, 0.5, 3),
      sigma: within(r, 0.1, 1),
      t0: within(r, 0.5, 1.5),
      plausibility: within(r, 0, 0.2),
      topP: 1,
    }),
    step: ({ base, instructed }, s) => {
      const kept = plausible(instructed!, s.plausibility);
      const [p1, p2] = [logSoftmax(base!), logSoftmax(instructed!)];
      const score = each(p2, (i) => p2[i]! + s.k * s.amplification * (p2[i]! - p1[i]!));
      const js = jensenShannon(base!, instructed!);
      return { score: masked(score, kept), temperature: fromSda(js, s), margin: kept.margin };
    },
    nothing: { amplification: 0, sigma: 1e30, t0: 1, topP: 1 },
  },
};
