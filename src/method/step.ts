import { type Tensor1D, type Tensor2D, tidy } from '@tensorflow/tfjs-core';
import { DRAW, sample } from '../../kernels/sample/index.js';
import { sdaStep } from '../../kernels/sda-step/index.js';
import { upload } from '../../kernels/upload/index.js';
import { SdaError } from '../errors.js';
import type { SdaSettings } from './settings.js';

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

/** What one step says of one query. */
export interface TokenChoice {
  /** The token that both streams take next */
  readonly id: number;
  readonly js: number;
  readonly temperature: number;
  /** log-probability of the token under P1, P2 (temperature 1) and P' (before top-p), nats */
  readonly logpBase: number;
  readonly logpInstructed: number;
  readonly logp: number;
}

/** What a step rule drew, on the device. */
export interface Draw {
  /** float32 [B, W], a line a query that begins with the drawn token id; whoever takes the draw disposes it. */
  readonly lines: Tensor2D;
  /**
   * What a line says, once it has been read.
   *
   * @throws SdaError `bad-logits`
   */
  readonly choice: (line: Float32Array, index: number) => TokenChoice;
}

type Drawn = Draw | TokenChoice[];

/**
 * A step rule: logits of 2 B rows (or B, with one stream a query) in, one choice a query out; `sdaRule` is the paper's.
 * After a `Draw` the next step can begin before the host has read this one; choices that the host makes are waited for.
 */
export type StepRule = (logits: Tensor2D, draws: StepDraws) => Drawn | Promise<Drawn>;

export interface StepDraws {
  /** a of each query */
  readonly amplifications: readonly number[];
  /** one number in 0..1 (1 excluded) a query */
  readonly uniforms: readonly number[];
  /** the caller's number of each query, for errors; default 0, 1, 2, ... */
  readonly queries?: readonly number[];
}

/** Eqs 4-8 with the draw, as `settings` say. */
export function sdaRule(settings: SdaSettings): (logits: Tensor2D, draws: StepDraws) => Draw {
  return (logits, { amplifications, uniforms, queries }) => ({
    lines: tidy(() => drawTokens(logits, settings, amplifications, uniforms)),
    choice: (line, index) => {
      const choice = readChoice(line, queries?.[index] ?? index);
      return settings.t0 === 0 ? { ...choice, temperature: 0 } : choice;
    },
  });
}

/** Reads a draw, and disposes it: for a rule that looks at the choices of another. */
export async function readDraw(draw: Draw): Promise<TokenChoice[]> {
  const count = draw.lines.shape[0];
  const values = (await draw.lines.data()) as Float32Array;
  draw.lines.dispose();
  return Array.from({ length: count }, (_, index) => choiceOf(draw, values, index));
}

/** What line `index` of a draw says, of all its values. */
export function choiceOf(
  { lines, choice }: Draw,
  values: Float32Array,
  index: number,
): TokenChoice {
  const width = lines.shape[1];
  return choice(values.subarray(index * width, (index + 1) * width), index);
}

/**
 * The distribution of eqs 4-8.
 *
 * @param logits float32 [2 B, V], base and instructed lines in turn.
 * @param amplifications a of each query.
 * @returns see the kernel `sdaStep`; the caller disposes both tensors.
 */
export function sdaDistribution(
  logits: Tensor2D,
  settings: SdaSettings,
  amplifications: readonly number[],
): { logProbs: Tensor2D; stats: Tensor2D } {
  const { mode, k, t0, sigma, tMin, plausibility } = settings;
  const steers = mode === 'sda' || mode === 'steering';
  const scales = mode === 'sda' || mode === 'scaling';
  const strength = upload(amplifications.map((a) => (steers ? k * a : 0))) as Tensor1D;
  try {
    return sdaStep({
      logits,
      strength,
      t0: t0 > 0 ? t0 : 1, // T0 = 0 is greedy: no temperature enters
      sigma: scales && t0 > 0 ? sigma : Number.POSITIVE_INFINITY,
      tMin: scales && t0 > 0 ? tMin : 0,
      plausibility,
      base: mode === 'base',
    });
  } finally {
    strength.dispose();
  }
}

function drawTokens(
  logits: Tensor2D,
  settings: SdaSettings,
  amplifications: readonly number[],
  uniforms: readonly number[],
): Tensor2D {
  const { logProbs, stats } = sdaDistribution(logits, settings, amplifications);
  const { topK, topP, minP } = settings;
  const greedy = settings.greedy || settings.t0 === 0;
  const draws = upload(uniforms) as Tensor1D;
  return sample({ logProbs, logits, stats, uniforms: draws, topK, topP, minP, greedy });
}

function readChoice(values: Float32Array, query: number): TokenChoice {
  const badStream = values[DRAW.badStream]!;
  if (badStream >= 0) {
    const stream = badStream === 0 ? 'base' : 'instructed';
    const token = values[DRAW.badToken]!;
    const which = token >= 0 ? `of token ${token} is NaN or infinite` : 'row holds no finite value';
    throw new SdaError(
      'bad-logits',
      `the logit ${which} in the ${stream} stream of query ${query}: the weights are damaged or the model overflows; check the file, or load it with float32.`,
    );
  }
  return {
    id: values[DRAW.id]!,
    js: values[DRAW.js]!,
    temperature: values[DRAW.temperature]!,
    logpBase: values[DRAW.logpBase]!,
    logpInstructed: values[DRAW.logpInstructed]!,
    logp: values[DRAW.logp]!,
  };
}
