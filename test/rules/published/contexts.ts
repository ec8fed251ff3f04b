import { distance, entropy, jensenShannon, largest, logSoftmax } from '../float64.js';
import {
  each,
  type Method,
  type Rows,
  type Settings,
  signed,
  T,
  temperature,
  within,
} from './form.js';

/** The code's own steps: bounds from a log softmax of the shifted information, a mask of each kind. */
function constrained(
  rows: Rows,
  { alpha, ratio }: Settings,
): { score: Float64Array; margin: number } {
  const [cond, uncond] = [logSoftmax(rows.context!), logSoftmax(rows.plain!)];
  const nats = entropy(rows.context!);
  const shifted = cond.map((value) => -value - nats);
  const information = logSoftmax(shifted.map((v) => (v === Infinity ? -Infinity : v)));
  const possible = [...information].filter((v) => v > -Infinity);
  const threshold = possible.reduce((a, b) => Math.min(a, b)) + Math.log(ratio);
  const filter = largest(possible) - Math.log(ratio);
  const alone = possible.filter((v) => v < threshold).length === 1;
  const score = each(cond, (i) => {
    let c = 1;
    if (information[i]! >= threshold || alone) c = 0;
    if (information[i]! > filter) c = 1;
    return c * cond[i]! + (1 - c) * uncond[i]! + alpha * (cond[i]! - uncond[i]!);
  });
  const margin = Math.min(distance(possible, threshold), distance(possible, filter));
  return { score, margin };
}

const steered = {
  anchor: 'context',
  away: ({ alpha }: Settings) => signed(-alpha, 'plain'),
};

/** Methods for what a context says against what the model knows. */
export const OF_CONTEXTS: Record<string, Method> = {
  cad: {
    ...steered,
    settings: (r) => ({ alpha: within(r, -0.5, 2), ...temperature(r) }),
    step: ({ context, plain }, s) => ({
      score: each(context!, (i) => (1 + s.alpha) * context![i]! - s.alpha * plain![i]!),
      temperature: T(s),
    }),
    nothing: { alpha: 0 },
  },
  adacad: {
    anchor: 'context',
    away: () => ['plain'],
    settings: (r) => ({ floor: within(r, 0, 0.9), ...temperature(r) }),
    step: ({ context, plain }, s) => {
      const alpha = Math.max(s.floor, jensenShannon(context!, plain!));
      const score = each(context!, (i) => (1 + alpha) * context![i]! - alpha * plain![i]!);
      return { score, temperature: T(s) };
    },
  },
  coiecd: {
    anchor: 'context',
    away: () => ['plain'],
    settings: (r) => ({
      alpha: within(r, 1, 2),
      ratio: within(r, 2, 20),
      greedy: false,
      ...temperature(r),
    }),
    step: (rows, s) => ({ ...constrained(rows, s), temperature: T(s) }),
  },
};
