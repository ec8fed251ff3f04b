import { type Tensor1D, type Tensor2D, tidy } from '@tensorflow/tfjs-core';
import { DRAW, drawStats, sample, sampleSettings } from '../../kernels/sample/index.js';
import { LOG_PROB_FLOOR, STEP_STATS, step, stepNumbers } from '../../kernels/step/index.js';
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
  return (logits, { amplifications, uniforms, queries }) => {
    const streams = logits.shape[0] / amplifications.length;
    return {
      lines: tidy(() =>
        drawFrom(sdaDistribution(logits, settings, amplifications), logits, settings, uniforms),
      ),
      choice: (line, index) => {
        const choice = readChoice(line, streams, queries?.[index] ?? index);
        return settings.t0 === 0 ? { ...choice, temperature: 0 } : choice;
      },
    };
  };
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
 * @returns see the kernel `step`; the caller disposes both tensors.
 */
export function sdaDistribution(
  logits: Tensor2D,
  settings: SdaSettings,
  amplifications: readonly number[],
): { logProbs: Tensor2D; stats: Tensor2D } {
  const { mode, k, t0, sigma, tMin, plausibility } = settings;
  const B = amplifications.length;
  const instructed = logits.shape[0] / B - 1; // 0 where one stream serves as both
  const steers = instructed > 0 && (mode === 'sda' || mode === 'steering');
  const scales = (mode === 'sda' || mode === 'scaling') && t0 > 0;
  const lines = amplifications.map((a) => ({
    weights: instructed > 0 ? [steers ? -k * a : 0, 0] : [0],
    positiveFloor: LOG_PROB_FLOOR,
    t0: t0 > 0 ? t0 : 1, // T0 = 0 is greedy: no temperature enters
    sigma,
    tMin,
    alpha: plausibility,
  }));
  const values = stepNumbers(lines, instructed + 1);
  const numbers = upload(values, [B, values.length / B]) as Tensor2D;
  try {
    return step({
      logits,
      numbers,
      anchor: mode === 'base' ? 0 : instructed,
      pair: [0, instructed],
      temperature: scales ? 'divergence' : 'fixed',
      mask: plausibility > 0 ? 'plausible' : 'none',
      maskStream: instructed,
    });
  } finally {
    numbers.dispose();
  }
}

/**
 * One token a query, drawn from a distribution as `settings` say.
 *
 * @param uniforms one number in 0..1 (1 excluded) a query
 * @returns see the kernel `sample`; the caller disposes it.
 */
export function drawFrom(
  distribution: { logProbs: Tensor2D; stats: Tensor2D },
  logits: Tensor2D,
  settings: SdaSettings,
  uniforms: readonly number[],
): Tensor2D {
  const greedy = settings.greedy || settings.t0 === 0;
  const { values, kinds } = sampleSettings(uniforms.map(() => ({ ...settings, greedy })));
  return tidy(() =>
    sample({
      ...distribution,
      logits,
      settings: upload(values, [uniforms.length, values.length / uniforms.length]) as Tensor2D,
      uniforms: upload(uniforms) as Tensor1D,
      ...kinds,
    }),
  );
}

function readChoice(values: Float32Array, streams: number, query: number): TokenChoice {
  const stats = drawStats(streams);
  const badStream = values[stats + STEP_STATS.badStream]!;
  if (badStream >= streams) {
    throw new SdaError(
      'bad-logits',
      `no token is left for query ${query}: the strength k a overflows float32, or plausibility keeps only what the base stream finds impossible; lower them.`,
    );
  }
  if (badStream >= 0) {
    const stream = badStream === 0 ? 'base' : 'instructed';
    const token = values[stats + STEP_STATS.badToken]!;
    const which = token >= 0 ? `of token ${token} is NaN or infinite` : 'row holds no finite value';
    throw new SdaError(
      'bad-logits',
      `the logit ${which} in the ${stream} stream of query ${query}: the weights are damaged or the model overflows; check the file, or load it with float32.`,
    );
  }
  return {
    id: values[DRAW.id]!,
    js: values[stats + STEP_STATS.js]!,
    temperature: values[stats + STEP_STATS.temperature]!,
    logpBase: values[DRAW.streams]!,
    logpInstructed: values[DRAW.streams + streams - 1]!,
    logp: values[DRAW.logp]!,
  };
}
