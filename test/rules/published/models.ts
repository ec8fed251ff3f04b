import type { Random } from '../../support/random.js';
import { logSoftmax, masked, nucleus, plausible } from '../float64.js';
import { each, type Method, moved, type Settings, T, temperature, within } from './form.js';

const experts = {
  anchor: 'base',
  settings: (r: Random) => ({ alpha: within(r, -2, 3), ...temperature(r) }),
  away: ({ alpha }: Settings) => [alpha < 0 ? 'expert' : 'antiExpert'],
};

/** Methods that compare models. */
export const OF_MODELS: Record<string, Method> = {
  cd: {
    anchor: 'expert',
    away: () => ['amateur'],
    settings: (r) => ({
      alpha: within(r, 0.01, 0.5),
      amateurTemperature: within(r, 0.5, 2),
      ...temperature(r),
    }),
    step: ({ expert, amateur }, s) => {
      const kept = plausible(expert!, s.alpha);
      const [e, a] = [logSoftmax(expert!), logSoftmax(amateur!, s.amateurTemperature)];
      const score = each(e, (i) => e[i]! - a[i]!);
      return { score: masked(score, kept), temperature: T(s), margin: kept.margin };
    },
  },
  'cd-beta': {
    anchor: 'expert',
    away: () => ['amateur'],
    settings: (r) => ({ alpha: within(r, 0.01, 0.5), beta: within(r, 0.1, 2), ...temperature(r) }),
    step: ({ expert, amateur }, s) => {
      const kept = plausible(expert!, s.alpha);
      const score = each(expert!, (i) => (1 + s.beta) * expert![i]! - s.beta * amateur![i]!);
      return { score: masked(score, kept), temperature: T(s), margin: kept.margin };
    },
    nothing: { beta: 0, alpha: 0 },
  },
  dexperts: {
    ...experts,
    settings: (r) => ({ ...experts.settings(r), baseTopP: within(r, 0.2, 0.7) }),
    step: ({ base, expert, antiExpert }, s) => {
      const kept = nucleus(base!, { topP: s.baseTopP });
      const score = moved(masked(base!, kept), s.alpha, expert!, antiExpert!);
      return { score, temperature: T(s), margin: kept.margin };
    },
    nothing: { alpha: 0, baseTopP: 1 },
  },
  'proxy-tuning': {
    ...experts,
    step: ({ base, expert, antiExpert }, s) => ({
      score: moved(base!, s.alpha, expert!, antiExpert!),
      temperature: T(s),
    }),
    nothing: { alpha: 0 },
  },
  eft: {
    anchor: 'base',
    away: ({ beta }) => [beta < 0 ? 'smallTuned' : 'smallBase'],
    settings: (r) => ({ beta: within(r, -2, 3), ...temperature(r) }),
    step: (rows, s) => {
      const [base, tuned, small] = [rows.base!, rows.smallTuned!, rows.smallBase!].map((row) =>
        logSoftmax(row),
      );
      return { score: moved(base!, s.beta, tuned!, small!), temperature: T(s) };
    },
    nothing: { beta: 0 },
  },
};
