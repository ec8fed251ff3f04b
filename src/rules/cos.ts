import { z } from 'zod';
import type { BlendChoice } from '../method/blend.js';
import { blendRule, type Rule, SAMPLING, type Sampling } from './define.js';
import { namedStreams, numbersOf } from './names.js';

const source = 'He et al. 2024, arXiv:2405.01768';
const sampling = {
  temperature: SAMPLING.temperature.default(0.6),
  topP: SAMPLING.topP.default(0.9),
};

/**
 * Context steering: how much a context counts.
 *
 *     score = log P_context + lambda (log P_context - log P_plain)
 *
 * lambda -1 leaves the context out, 0 takes it as it is. The published code divides the logits of both streams by T
 * before their softmax; since the weights sum to 1, that is a T after the sum.
 * Source: He et al. 2024, arXiv:2405.01768.
 */
export const cos = blendRule({
  name: 'cos',
  title: 'Context steering',
  formula: 'C + lambda (C - N), C = log P(context), N = log P(plain)',
  source,
  streams: { context: { adds: 'instruction' }, plain: {} },
  settings: {
    lambda: z.number().default(1).describe('-1 is without the context, 0 with it as it is'),
    ...sampling,
  },
  blend: ({ lambda }) => ({ anchor: 'context', weights: { plain: -lambda } }),
});

type Weights<N extends string> = Partial<Record<'plain' | N, number>>;

/** Settings of `contextSteering`. */
export type SeveralContexts<N extends string> = Sampling & {
  /** Of each context; default 1 */
  readonly lambda: Readonly<Record<N, number>>;
};

/**
 * Context steering by several contexts, each with its own lambda, and each in a stream of its own.
 *
 *     score = log P_plain + sum of lambda_i (log P_i - log P_plain)
 *
 * Its origin is the prompt without any context, as in the published code: lambda 0 leaves a context out, and 1 takes
 * it as it is. With one context it is `cos` with a lambda that is greater by 1.
 *
 * @param names of the contexts, 1 to 7
 * @throws SdaError `bad-input` for names that cannot be
 */
export function contextSteering<const N extends string>(
  names: readonly N[],
): Rule<'plain' | N, SeveralContexts<N>, BlendChoice<'plain' | N>> {
  const name = 'cos-several';
  return blendRule({
    name,
    title: 'Context steering by several contexts',
    formula: `N + sum of lambda_i (C_i - N), C_i = log P of ${names.join(', ')}, N = log P(plain)`,
    source,
    streams: namedStreams(name, { plain: {} }, names, { adds: 'instruction' }),
    settings: {
      lambda: numbersOf(names, z.number().default(1)).describe('0 is without the context'),
      ...sampling,
    },
    blend: ({ lambda }) => ({ anchor: 'plain', weights: lambda as Weights<N> }),
  });
}
