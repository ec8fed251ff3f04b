import { concat, logSumExp, sub, type Tensor2D, tidy, topk } from '@tensorflow/tfjs-core';
import type { TokenLogProb } from '../decode/given-tokens.js';
import type { Choice, Draw, StepRule } from '../method/rule.js';
import type { Rule } from '../rules/define.js';
import { sda } from '../rules/sda.js';

/** What is told of a token beside what its rule says. */
export interface WithTop {
  /** The likeliest tokens in its place, by the model at temperature 1, the likeliest first */
  readonly top: readonly TokenLogProb[];
}

const made = new Map<number, Rule>();

/** Plain decoding of the base stream of SDA that also tells the `count` likeliest tokens in the place of each. */
export function plainWithTop(count: number): Rule {
  const rule = made.get(count) ?? { ...sda, step: withTop(sda.step as StepRule<object>, count) };
  made.set(count, rule as Rule); // one rule, one group of queries
  return rule as Rule;
}

/** A rule of one stream, with the likeliest tokens of that stream. */
function withTop(step: StepRule<object>, count: number): StepRule<object, Choice & WithTop> {
  return async (logits, draws) => {
    const drawn = (await step(logits, draws)) as Draw;
    const width = drawn.lines.shape[1];
    const lines = tidy(() => {
      const { values, indices } = topk(logits, count);
      const logPs = sub(values, logSumExp(logits, 1, true));
      return concat([drawn.lines, indices.toFloat(), logPs], 1) as Tensor2D;
    });
    drawn.lines.dispose();
    const choice = (line: Float32Array, index: number) => ({
      ...drawn.choice(line.subarray(0, width), index),
      top: Array.from({ length: count }, (_, place) => ({
        id: line[width + place]!,
        logp: line[width + count + place]!,
      })),
    });
    return { lines, choice };
  };
}
