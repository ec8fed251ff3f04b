import { contextSteering, sdaSeveral, selfDebiasing } from '../../../src/rules/catalogue.js';
import { jensenShannon, logSoftmax, type Row, softmax } from '../float64.js';
import {
  each,
  type Method,
  type Published,
  type Settings,
  T,
  temperature,
  within,
} from './form.js';
import { fromSda } from './sda.js';

function debiased(query: Row, biases: readonly Row[], s: Settings): Float64Array {
  const p = softmax(query);
  const biased = biases.map((row) => softmax(row));
  return each(query, (i) => {
    const delta = Math.max(...biased.map((q) => q[i]!)) - p[i]!;
    return Math.log(p[i]! * Math.max(Math.exp(-s.decay * Math.max(delta, 0)), s.epsilon));
  });
}

/** Self-debiasing. */
export const OF_BIASES: Record<string, Method> = {
  'self-debiasing': {
    anchor: 'query',
    away: () => [],
    settings: (r) => ({ decay: within(r, 0, 60), epsilon: within(r, 0, 0.1), ...temperature(r) }),
    step: (rows, s) => ({
      score: debiased(rows.query!, [rows.biased!], s),
      temperature: T(s),
    }),
  },
};

/** One of each factory. */
export const SEVERAL: readonly Published[] = [
  {
    ...OF_BIASES['self-debiasing']!,
    rule: selfDebiasing(['rude', 'toxic']),
    step: (rows, s) => ({
      score: debiased(rows.query!, [rows.rude!, rows.toxic!], s),
      temperature: T(s),
    }),
  },
  {
    rule: contextSteering(['teacher', 'child']),
    anchor: 'plain',
    away: ({ lambda }) => Object.keys(lambda).filter((name) => lambda[name] < 0),
    settings: (r) => ({
      lambda: { teacher: within(r, -1, 2), child: within(r, -1, 2) },
      ...temperature(r),
    }),
    step: ({ plain, teacher, child }, s) => {
      const [n, t, c] = [plain!, teacher!, child!].map((row) => logSoftmax(row, T(s)));
      const { lambda } = s;
      const score = each(
        n!,
        (i) => n![i]! + lambda.teacher * (t![i]! - n![i]!) + lambda.child * (c![i]! - n![i]!),
      );
      return { score, temperature: 1 };
    },
    nothing: { lambda: { teacher: 0, child: 0 }, temperature: 1, topP: 1 },
  },
  {
    rule: sdaSeveral(['kind', 'short']),
    anchor: 'all',
    away: () => ['base', 'kind', 'short'], // floored whatever their weight
    settings: (r) => ({
      amplification: { kind: within(r, -0.3, 0.5), short: within(r, -0.3, 0.5) },
      k: within(r, 0.5, 3),
      sigma: within(r, 0.1, 1),
      ...temperature(r),
    }),
    step: (rows, s) => {
      const [base, all, kind, short] = ['base', 'all', 'kind', 'short'].map((name) =>
        logSoftmax(rows[name]!),
      );
      const { k, amplification: a } = s;
      const score = each(
        all!,
        (i) =>
          all![i]! + k * a.kind * (kind![i]! - base![i]!) + k * a.short * (short![i]! - base![i]!),
      );
      return { score, temperature: fromSda(jensenShannon(rows.base!, rows.all!), s) };
    },
    nothing: { amplification: { kind: 0, short: 0 }, sigma: 1e30, temperature: 1, topP: 1 },
  },
];
