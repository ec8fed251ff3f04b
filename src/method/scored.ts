import {
  concat,
  greater,
  reshape,
  slice,
  sub,
  type Tensor2D,
  tidy,
  unstack,
  where,
} from '@tensorflow/tfjs-core';
import { type Cuts, drawStats } from '../../kernels/sample/index.js';
import { STEP_STATS, stepDetails, stepStatsWidth } from '../../kernels/step/index.js';
import { SdaError } from '../errors.js';
import { type Blend, type BlendDetails, distributionOf, drawFrom, readChoice } from './blend.js';
import type { Choice, Draw, StepDraws } from './rule.js';

/** What a rule that scores tokens itself says of one. */
export interface ScoreChoice<Stream extends string = string> extends Choice {
  /** T, > 0; 0 where the likeliest token was taken because T is 0 */
  readonly temperature: number;
  /** Jensen-Shannon divergence of the anchor and the first other stream, nats, 0..ln 2 */
  readonly js: number;
  /** log-probability of the token in each stream, temperature 1, nats */
  readonly logps: Readonly<Record<Stream, number>>;
  readonly details?: Pick<BlendDetails<Stream>, 'scoreEntropy' | 'generalJs' | 'entropies'>;
}

/** How a scored token is drawn. */
export interface ScoreDrawing extends Cuts {
  /** T, >= 0; 0 takes the likeliest token */
  readonly temperature: number;
  /** Adds entropies and the divergence of all streams to the statistics */
  readonly details: boolean;
}

/** Whose scores are drawn from. */
export interface Scoring<Stream extends string> {
  /** Of the rule, for errors */
  readonly name: string;
  readonly streams: readonly Stream[];
  /** What is impossible in this stream stays impossible, whatever its score */
  readonly anchor: Stream;
}

/** The streams of a step before they are scored. */
export interface Measured {
  /** float32 [S B, V]; the caller's */
  readonly logits: Tensor2D;
  /** float32 [S B, V]: log softmax of each line; -Infinity where the logit is */
  readonly logPs: Tensor2D;
  /** float32 [B, W]: statistics of the kernel `step` */
  readonly stats: Tensor2D;
  /** The statistics include details, since one of the queries asks for them */
  readonly details: boolean;
}

/** The log-probabilities and statistics of the streams; the caller disposes `logPs` and `stats`. */
export function measure<Stream extends string>(
  { streams, anchor }: Scoring<Stream>,
  logits: Tensor2D,
  settings: readonly ScoreDrawing[],
): Measured {
  const details = settings.some((own) => own.details);
  const blend = asOne(anchor, 1, details);
  const { logProbs, stats } = distributionOf(
    logits,
    streams,
    settings.map(() => blend),
  );
  logProbs.dispose();
  const [B, S] = [settings.length, streams.length];
  const logPs = tidy(
    () => sub(logits, reshape(slice(stats, [0, STEP_STATS.logZ], [B, S]), [S * B, 1])) as Tensor2D,
  );
  return { logits, logPs, stats, details };
}

/** A line of values that is decoded as it is. */
function asOne<Stream extends string>(anchor: Stream, t0: number, details: boolean): Blend<Stream> {
  const cuts = { topK: 0, topP: 1, minP: 0 };
  const weights: Partial<Record<Stream, number>> = {};
  return { anchor, weights, temperature: { t0 }, cuts, greedy: false, details };
}

/**
 * Draws one token a query from softmax(score / T).
 *
 * @param scores float32 [B, V]; the caller's, as `measured` is
 */
export function drawScores<Stream extends string>(
  rule: Scoring<Stream>,
  scores: Tensor2D,
  { logits, stats, details }: Measured,
  { settings, uniforms, queries }: StepDraws<ScoreDrawing>,
): Draw<ScoreChoice<Stream>> {
  const { streams, anchor } = rule;
  const [B, V] = scores.shape;
  const lines = tidy(() => {
    const ofAnchor = unstack(reshape(logits, [B, -1, V]), 1)[streams.indexOf(anchor)]!;
    const possible = greater(ofAnchor, Number.NEGATIVE_INFINITY);
    const scored = distributionOf(
      where(possible, scores, Number.NEGATIVE_INFINITY) as Tensor2D,
      ['score'],
      settings.map(({ temperature }) => asOne('score', temperature, details)),
    );
    const drawing = settings.map((own) => ({
      ...own,
      greedy: own.greedy || own.temperature === 0,
    }));
    const drawn = drawFrom({ logProbs: scored.logProbs, stats }, logits, drawing, uniforms);
    return concat([drawn, scored.stats], 1) as Tensor2D;
  });
  const choice = (line: Float32Array, index: number) =>
    readScored(rule, line, settings[index]!, queries?.[index] ?? index, details);
  return { lines, choice };
}

function readScored<Stream extends string>(
  rule: Scoring<Stream>,
  line: Float32Array,
  { temperature: t0, details }: ScoreDrawing,
  query: number,
  measuredDetails: boolean,
): ScoreChoice<Stream> {
  const { streams } = rule;
  const end = drawStats(streams.length) + stepStatsWidth(streams.length, measuredDetails);
  const scored = line.subarray(end);
  const of = { temperature: { t0 }, details };
  const { details: more, ...choice } = readChoice(line.subarray(0, end), streams, of, query);
  checkScores(rule, scored, query);
  return {
    ...choice,
    temperature: t0 === 0 ? 0 : scored[STEP_STATS.temperature]!,
    ...(more && {
      details: {
        scoreEntropy: scored[stepDetails(1).scoreEntropy]!,
        generalJs: more.generalJs,
        entropies: more.entropies,
      },
    }),
  };
}

function checkScores({ name, anchor }: Scoring<string>, scored: Float32Array, query: number): void {
  if (scored[STEP_STATS.badStream]! < 0) return;
  const token = scored[STEP_STATS.badToken]!;
  throw new SdaError(
    'bad-input',
    token >= 0
      ? `The rule ${name} scores token ${token} of query ${query} as NaN or Infinity: give finite numbers, or -Infinity for what must not be drawn.`
      : `The rule ${name} leaves query ${query} no token: what the stream ${anchor} finds possible is all scored -Infinity; score one of these above that.`,
  );
}
