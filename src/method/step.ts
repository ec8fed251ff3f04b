import type { Tensor2D } from '@tensorflow/tfjs-core';
import { LOG_PROB_FLOOR } from '../../kernels/step/index.js';
import { type Blend, type BlendChoice, distributionOf, drawBlend } from './blend.js';
import type { Choice, Draw, StepDraws, StepRule } from './rule.js';
import { resolveSettings, type SdaSettings } from './settings.js';

/**
 * | paper | here          | meaning                                            | range        |
 * | ----- | ------------- | -------------------------------------------------- | ------------ |
 * | P1    | base          | next-token distribution given the query            |              |
 * | P2    | instructed    | ... given the query and the alignment instruction  |              |
 * | a     | amplification | how much of the strength is used, from the score   | 0..1 (eq 3)  |
 * | k     | k             | steering strength                                  | > 0          |
 * | JS    | js            | Jensen-Shannon divergence of P1 and P2, nats       | 0..ln 2      |
 * | T     | temperature   | max(Tmin, T0 * 0.5^(JS / sigma))                   | >= Tmin      |
 * | P'    |               | softmax((log P2 + k a (log P2 - log P1)) / T)      |              |
 */

/** What one step of SDA says of one query. */
export interface TokenChoice extends Choice {
  readonly js: number;
  readonly temperature: number;
  /** log-probability of the token under P1 and P2 at temperature 1, nats */
  readonly logpBase: number;
  readonly logpInstructed: number;
}

/** A step for the streams of SDA, or for one alone. */
export type SdaStep = StepRule<Partial<SdaSettings>, TokenChoice>;

const STREAMS = ['base', 'instructed'] as const;
type SdaStream = (typeof STREAMS)[number];

/** Eqs 4-8 as a blend. With one stream, it serves as both. */
export function sdaBlend(settings: SdaSettings, streams: 1 | 2 = 2): Blend<SdaStream> {
  const { mode, amplification, k, t0, sigma, tMin, plausibility, greedy } = settings;
  const instructed = streams === 2 ? 'instructed' : 'base';
  const steers = streams === 2 && (mode === 'sda' || mode === 'steering');
  const scales = mode === 'sda' || mode === 'scaling';
  return {
    anchor: mode === 'base' ? 'base' : instructed,
    weights: steers ? { base: -k * amplification } : {}, //              eqs 4, 5
    positiveFloor: LOG_PROB_FLOOR,
    pair: ['base', instructed], //                                       eq 6
    temperature: scales ? { t0, sigma, tMin } : { t0 }, //               eq 7
    mask: plausibility > 0 ? { by: instructed, plausibility } : undefined,
    cuts: settings,
    greedy,
  };
}

/** Eqs 4-8 with the draw, as `defaults` say where a query's own settings do not. */
export function sdaRule(defaults: SdaSettings = resolveSettings()): SdaDraw & SdaStep {
  const step: SdaDraw = (logits, draws) => {
    const streams = streamsOf(logits, draws.settings.length);
    const blends = draws.settings.map((own) => sdaBlend({ ...defaults, ...own }, streams));
    const { lines, choice } = drawBlend(logits, STREAMS.slice(0, streams), blends, draws);
    return { lines, choice: (line, index) => asSda(choice(line, index)) };
  };
  const check = (query: number, own: Partial<SdaSettings>) => {
    resolveSettings({ ...defaults, ...own }, ` of query ${query}`);
  };
  return Object.assign(step, { check });
}

type SdaDraw = (logits: Tensor2D, draws: StepDraws<Partial<SdaSettings>>) => Draw<TokenChoice>;

/** What SDA says of a token, from what its blend says. */
export function asSda({ logps, ...rest }: BlendChoice<SdaStream>): TokenChoice {
  return { ...rest, logpBase: logps.base, logpInstructed: logps.instructed ?? logps.base };
}

/**
 * The distribution of eqs 4-8.
 *
 * @param logits float32 [2 B, V], base and instructed lines in turn; or [B, V], where one stream serves as both
 * @param amplifications a of each query
 * @returns see the kernel `step`; the caller disposes both tensors.
 */
export function sdaDistribution(
  logits: Tensor2D,
  settings: SdaSettings,
  amplifications: readonly number[],
): { logProbs: Tensor2D; stats: Tensor2D } {
  const streams = streamsOf(logits, amplifications.length);
  const blends = amplifications.map((amplification) =>
    sdaBlend({ ...settings, amplification }, streams),
  );
  return distributionOf(logits, STREAMS.slice(0, streams), blends);
}

function streamsOf(logits: Tensor2D, queries: number): 1 | 2 {
  return logits.shape[0] === queries ? 1 : 2;
}
