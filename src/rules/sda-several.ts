import { z } from 'zod';
import { type BlendChoice, LOG_PROB_FLOOR } from '../method/blend.js';
import { DEFAULT_SETTINGS } from '../method/settings.js';
import { blendRule, type Rule, SAMPLING, type Sampling } from './define.js';
import { namedStreams, numbersOf } from './names.js';
import { sda } from './sda.js';

const d = DEFAULT_SETTINGS;

/** Settings of `sdaSeveral`. */
export type SeveralInstructions<N extends string> = Sampling & {
  /** a of each instruction; default 0.2 */
  readonly amplification: Readonly<Record<N, number>>;
  readonly k: number;
  readonly sigma: number;
  readonly tMin: number;
  readonly plausibility: number;
};
type Stream<N extends string> = 'base' | 'all' | N;

/**
 * SDA by several instructions, each amplified by its own a:
 *
 *     score = log P_all + sum of k a_i (log P_i - log P_base)      T = max(Tmin, T0 0.5^(JS(P_base, P_all) / sigma))
 *
 * P_all has all instructions in its prompt, P_i one of them, P_base none. SDA starts from what the model says when it
 * has been told everything, P2, and so does this: how instructions that pull apart are to be reconciled is for the model,
 * a_i is only how much of its own direction each has besides, and the temperature is eq 7 of the whole prompt. A sum
 * from the base or from the mean of the P_i instead would count twice what instructions have in common, or weaken each
 * the more there are. With one instruction P_all is P_1, there is no other stream, and this is SDA, to the bit.
 *
 * @param names of the instructions, 1 to 6
 * @throws SdaError `bad-input` for names that cannot be
 */
export function sdaSeveral<const N extends string>(
  names: readonly N[],
): Rule<Stream<N>, SeveralInstructions<N>, BlendChoice<Stream<N>>> {
  const name = 'sda-several';
  const own = { base: {}, all: { adds: 'instruction' } } as const;
  const several = namedStreams(name, own, names, { adds: 'instruction' });
  const one = names.length === 1;
  const streams = (one ? own : several) as typeof several;
  const { k, sigma, tMin, plausibility } = (sda.settings as unknown as z.ZodObject).shape as Record<
    'k' | 'sigma' | 'tMin' | 'plausibility',
    z.ZodDefault<z.ZodNumber>
  >;
  return blendRule({
    name,
    title: 'Steering-driven distribution alignment by several instructions',
    formula: `(A + sum of k a_i (L_i - B)) / T, A, B, L_i = log P of all, base, ${names.join(', ')}`,
    source: 'a generalisation of Xia and Deng 2026, AAAI',
    streams,
    settings: {
      amplification: numbersOf(names, z.number().default(d.amplification)).describe('a of each'),
      k,
      sigma,
      tMin,
      plausibility,
      temperature: SAMPLING.temperature.default(d.t0),
      topP: SAMPLING.topP.default(d.topP),
    },
    blend: ({ amplification, temperature: t0, k, sigma, tMin, plausibility }) => {
      const pulls = names.map((each) => k * amplification[each]);
      const away = pulls.reduce((sum, pull) => sum - pull, 0);
      return {
        anchor: 'all',
        weights: {
          base: away,
          ...(!one && Object.fromEntries(names.map((each, index) => [each, pulls[index]!]))),
        } as Partial<Record<Stream<N>, number>>,
        positiveFloor: LOG_PROB_FLOOR,
        pair: ['base', 'all'],
        temperature: { t0, sigma, tMin },
        mask: plausibility > 0 ? { by: 'all', plausibility } : undefined,
      };
    },
  });
}
