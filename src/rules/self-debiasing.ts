import { add, exp, maximum, mul, sub, type Tensor1D } from '@tensorflow/tfjs-core';
import { z } from 'zod';
import type { Rule, Sampling } from './define.js';
import { namedStreams } from './names.js';
import { type ScoreChoice, scoreRule } from './score.js';

/** Settings of `selfDebiasing`. */
export type Debiasing = Sampling & { readonly decay: number; readonly epsilon: number };

/**
 * Self-debiasing: what prompts that ask for an undesired text make likelier becomes rarer.
 *
 *     P' ~ P max(exp(-decay max(0, max_j P_j - P)), epsilon)    P given the query, P_j given the query and a bias
 *
 * Source: Schick et al. 2021, arXiv:2103.00453.
 *
 * @param names of the streams with a bias, 1 to 7
 * @throws SdaError `bad-input` for names that cannot be
 */
export function selfDebiasing<const N extends string>(
  names: readonly N[],
  name = 'self-debiasing-several',
): Rule<'query' | N, Debiasing, ScoreChoice<'query' | N>> {
  return scoreRule({
    name,
    title: 'Self-debiasing',
    formula: `Q + log max(exp(-decay max(0, max P_j - P(query))), epsilon), Q = log P(query), P_j = P of ${names.join(', ')}`,
    source: 'Schick et al. 2021, arXiv:2103.00453',
    streams: namedStreams(name, { query: {} }, names, { adds: 'negative' }),
    anchor: 'query',
    settings: {
      decay: z.number().min(0).default(50).describe('lambda; 0 is plain decoding of the query'),
      epsilon: z.number().min(0).max(1).default(0.01).describe('least factor of a probability'),
    },
    score: (logPs: Readonly<Record<'query' | N, Tensor1D>>, { decay, epsilon }) => {
      const query: Tensor1D = logPs['query' as const];
      const biased = names.map((each): Tensor1D => logPs[each]).reduce((a, b) => maximum(a, b));
      const rise = maximum(sub(exp(biased), exp(query)), 0);
      return add(query, maximum(mul(rise, -decay), Math.log(epsilon)));
    },
  });
}

/** Self-debiasing by one bias. */
export const selfDebias = selfDebiasing(['biased'], 'self-debiasing');
