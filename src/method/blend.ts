import {
  concat,
  gather,
  type Tensor1D,
  type Tensor2D,
  tensor1d,
  tidy,
} from '@tensorflow/tfjs-core';
import { cut, cutSettings } from '../../kernels/cut/index.js';
import { type Cuts, DRAW, drawStats, sample, sampleSettings } from '../../kernels/sample/index.js';
import {
  STEP_STATS,
  type StepKinds,
  type StepNumbers,
  step,
  stepDetails,
  stepNumbers,
} from '../../kernels/step/index.js';
import { upload } from '../../kernels/upload/index.js';
import { SdaError } from '../errors.js';
import type { Choice, Draw, StepDraws } from './rule.js';

export { LOG_PROB_FLOOR, MOST_STREAMS } from '../../kernels/step/index.js';

/**
 * A step that combines the next-token distributions of named streams, as data:
 *
 *     score = sum of w_i log P_i          P' = softmax(score / T) over the tokens that the mask keeps
 */
export interface Blend<Stream extends string> {
  /** What is impossible in this stream stays impossible */
  readonly anchor: Stream;
  /** w of the other streams; one that is left out has 0 and is only measured. The anchor has what is left of `sum` */
  readonly weights: Readonly<Partial<Record<Stream, number>>>;
  /** Of all weights: the inverse temperature of what the streams agree on; default 1 */
  readonly sum?: number | undefined;
  /** log P of a stream with a weight above 0 counts as no less than this; default -Infinity. Below 0: -1e4, always */
  readonly positiveFloor?: number | undefined;
  /** Multiplies the weights of all streams but the anchor by max(floor, JS), and keeps the sum of all (AdaCAD) */
  readonly byDivergence?: { readonly floor: number } | undefined;
  /** The two streams whose divergence is measured; default: the anchor and the first other stream */
  readonly pair?: readonly [Stream, Stream] | undefined;
  readonly mask?: Mask<Stream> | undefined;
  readonly temperature: Temperature;
  readonly cuts: Omit<Cuts, 'greedy'>;
  readonly greedy: boolean;
  /** Adds entropies, the divergence of all streams, kept mass and weights to the statistics; default false */
  readonly details?: boolean | undefined;
}

/** Tokens that one stream keeps, looked at as it is: those near its likeliest, or its own top-k and top-p. */
export type Mask<Stream extends string> =
  | { readonly by: Stream /** alpha, 0..1 */; readonly plausibility: number }
  | {
      readonly by: Stream;
      readonly topK?: number;
      readonly topP?: number;
      /** At which masses are taken; default 1 */
      readonly temperature?: number;
    };

/** T0; or max(Tmin, T0 0.5^(JS / sigma)) (eq 7); or max(Tmin, T0 N^(theta / H)), H the entropy of the score (EDT). */
export type Temperature =
  | { readonly t0: number }
  | { readonly t0: number; readonly sigma: number; readonly tMin: number }
  | { readonly t0: number; readonly base: number; readonly theta: number; readonly tMin?: number };

/** What a blend says of a token. */
export interface BlendChoice<Stream extends string = string> extends Choice {
  /** T, > 0; 0 where the likeliest token was taken because T0 is 0 */
  readonly temperature: number;
  /** Jensen-Shannon divergence of the pair, nats, 0..ln 2 */
  readonly js: number;
  /** log-probability of the token in each stream, temperature 1, nats */
  readonly logps: Readonly<Record<Stream, number>>;
  readonly details?: BlendDetails<Stream>;
}

export interface BlendDetails<Stream extends string = string> {
  /** Of softmax(score), masked and at temperature 1, nats */
  readonly scoreEntropy: number;
  /** Jensen-Shannon divergence of all streams, equal weights, nats */
  readonly generalJs: number;
  /** Probability in the mask's stream of the tokens that the mask keeps */
  readonly keptMass: number;
  /** Of each stream, nats */
  readonly entropies: Readonly<Record<Stream, number>>;
  /** w with which the score was formed */
  readonly weights: Readonly<Record<Stream, number>>;
}

/** A blend as the kernels take it. */
export interface BlendPlan {
  readonly kinds: StepKinds;
  readonly numbers: StepNumbers;
  readonly cut: { readonly topK?: number; readonly topP?: number; readonly temperature?: number };
  readonly drawing: Cuts;
}

/**
 * Draws one token a query, each as its own blend says. Queries whose blends differ in kind, not in numbers alone, run
 * after one another.
 *
 * @param logits float32 [S B, V], line S b + s is stream s of query b
 * @param streams names of the S streams, in order
 * @param blends of each query
 */
export function drawBlend<Stream extends string>(
  logits: Tensor2D,
  streams: readonly Stream[],
  blends: readonly Blend<Stream>[],
  { uniforms, queries }: Pick<StepDraws, 'uniforms' | 'queries'>,
): Draw<BlendChoice<Stream>> {
  const plans = blends.map((blend) => planOf(blend, streams));
  const groups = groupsOf(plans);
  const lines = tidy(() => {
    if (groups.length === 1) return drawGroup(logits, streams.length, plans, uniforms);
    const S = streams.length;
    const parts = groups.map((members) => {
      const rows = members.flatMap((query) => streams.map((_, stream) => S * query + stream));
      const some = gather(logits, tensor1d(rows, 'int32'));
      const part = members.map((query) => plans[query]!);
      return drawGroup(
        some,
        S,
        part,
        members.map((query) => uniforms[query]!),
      );
    });
    const order = groups.flat();
    const places = plans.map((_, query) => order.indexOf(query));
    const width = Math.max(...parts.map(({ shape }) => shape[1]));
    const padded = parts.map((part) =>
      part.pad([
        [0, 0],
        [0, width - part.shape[1]],
      ]),
    );
    return gather(concat(padded, 0), tensor1d(places, 'int32')) as Tensor2D;
  });
  return {
    lines,
    choice: (line, index) => readChoice(line, streams, blends[index]!, queries?.[index] ?? index),
  };
}

/** Queries whose plans are of one kind, by number. */
function groupsOf(plans: readonly BlendPlan[]): number[][] {
  const groups = new Map<string, number[]>();
  plans.forEach(({ kinds }, query) => {
    const key = JSON.stringify(kinds);
    const group = groups.get(key);
    if (group) group.push(query);
    else groups.set(key, [query]);
  });
  return [...groups.values()];
}

/**
 * log P' and the statistics of queries whose blends are of one kind, without a draw.
 *
 * @returns see the kernel `step`; the caller disposes both tensors.
 */
export function distributionOf<Stream extends string>(
  logits: Tensor2D,
  streams: readonly Stream[],
  blends: readonly Blend<Stream>[],
): { logProbs: Tensor2D; stats: Tensor2D } {
  const plans = blends.map((blend) => planOf(blend, streams));
  if (groupsOf(plans).length !== 1) {
    throw new SdaError('bad-input', 'The blends of one distribution must be of one kind.');
  }
  return tidy(() => stepOf(logits, streams.length, plans));
}

function drawGroup(
  logits: Tensor2D,
  streams: number,
  plans: readonly BlendPlan[],
  uniforms: readonly number[],
): Tensor2D {
  const drawing = plans.map((plan) => plan.drawing);
  return drawFrom(stepOf(logits, streams, plans), logits, drawing, uniforms);
}

/**
 * One token a query from its distribution.
 *
 * @param uniforms one number in 0..1 (1 excluded) a query
 * @returns see the kernel `sample`; the caller disposes it.
 */
export function drawFrom(
  { logProbs, stats }: { logProbs: Tensor2D; stats: Tensor2D },
  logits: Tensor2D,
  drawing: readonly Cuts[],
  uniforms: readonly number[],
): Tensor2D {
  const { values, kinds } = sampleSettings(drawing);
  return tidy(() => {
    const settings = upload(values, [drawing.length, values.length / drawing.length]) as Tensor2D;
    const draws = upload(uniforms) as Tensor1D;
    return sample({ logProbs, stats, logits, settings, uniforms: draws, ...kinds });
  });
}

function stepOf(logits: Tensor2D, streams: number, plans: readonly BlendPlan[]) {
  const { kinds } = plans[0]!;
  const B = plans.length;
  const linesOf = (values: readonly number[] | Float32Array) =>
    upload(values, [B, values.length / B]) as Tensor2D;
  const numbers = linesOf(
    stepNumbers(
      plans.map((plan) => plan.numbers),
      streams,
    ),
  );
  if (kinds.mask !== 'least') return step({ logits, numbers, ...kinds });
  const settings = linesOf(cutSettings(plans.map((plan) => plan.cut)));
  return step({
    logits,
    numbers,
    least: cut({ logits, settings, stream: kinds.maskStream! }),
    ...kinds,
  });
}

/** @throws SdaError `bad-input` for a stream that is not there */
export function planOf<Stream extends string>(
  blend: Blend<Stream>,
  streams: readonly Stream[],
): BlendPlan {
  const { weights, anchor, mask, temperature, cuts, greedy } = blend;
  const place = (name: Stream) => placeOf(name, streams);
  for (const name of Object.keys(weights)) place(name as Stream);
  const anchorPlace = place(anchor);
  const other = streams.find((name) => name !== anchor) ?? anchor;
  const [first, second] = blend.pair ?? [anchor, other];
  const frozen = temperature.t0 === 0; // the likeliest token: no temperature enters
  const byEntropy = !frozen && 'base' in temperature;
  const plausible = mask && 'plausibility' in mask;
  return {
    kinds: {
      anchor: anchorPlace,
      pair: [place(first), place(second)],
      weights: blend.byDivergence ? 'js' : 'fixed',
      mask: !mask ? 'none' : plausible ? 'plausible' : 'least',
      maskStream: mask ? place(mask.by) : anchorPlace,
      temperature: byEntropy
        ? 'entropy'
        : !frozen && 'sigma' in temperature
          ? 'divergence'
          : 'fixed',
      details: blend.details ?? false,
    },
    numbers: {
      total: blend.sum ?? 1,
      weights: streams.map((name) => (name === anchor ? 0 : (weights[name] ?? 0))),
      ...(blend.positiveFloor !== undefined && { positiveFloor: blend.positiveFloor }),
      t0: frozen ? 1 : temperature.t0,
      ...('sigma' in temperature && { sigma: temperature.sigma }),
      ...('tMin' in temperature && temperature.tMin !== undefined && { tMin: temperature.tMin }),
      ...(byEntropy && { entropyBase: temperature.base, theta: temperature.theta }),
      ...(blend.byDivergence && { weightFloor: blend.byDivergence.floor }),
      ...(plausible && { alpha: mask.plausibility }),
    },
    cut: mask && !plausible ? mask : {},
    drawing: { ...cuts, greedy: greedy || frozen },
  };
}

function placeOf(name: string, streams: readonly string[]): number {
  const place = streams.indexOf(name);
  if (place >= 0) return place;
  throw new SdaError(
    'bad-input',
    `There is no stream "${name}": the streams of this rule are ${streams.join(', ')}.`,
  );
}

/**
 * What a line of `drawFrom` says.
 *
 * @throws SdaError `bad-logits`
 */
export function readChoice<Stream extends string>(
  line: Float32Array,
  streams: readonly Stream[],
  { temperature, details }: Pick<Blend<Stream>, 'temperature' | 'details'>,
  query: number,
): BlendChoice<Stream> {
  const S = streams.length;
  const stats = line.subarray(drawStats(S));
  checkLogits(stats, streams, query);
  const named = (values: Float32Array, first: number) =>
    Object.fromEntries(streams.map((name, s) => [name, values[first + s]!])) as Record<
      Stream,
      number
    >;
  const more = stepDetails(S);
  return {
    id: line[DRAW.id]!,
    logp: line[DRAW.logp]!,
    temperature: temperature.t0 === 0 ? 0 : stats[STEP_STATS.temperature]!,
    js: stats[STEP_STATS.js]!,
    logps: named(line, DRAW.streams),
    ...(details && {
      details: {
        scoreEntropy: stats[more.scoreEntropy]!,
        generalJs: stats[more.generalJs]!,
        keptMass: stats[more.keptMass]!,
        entropies: named(stats, more.entropies),
        weights: named(stats, more.weights),
      },
    }),
  };
}

/** @throws SdaError `bad-logits` naming the stream and the token where a step could not be taken. */
export function checkLogits(stats: Float32Array, streams: readonly string[], query: number): void {
  const bad = stats[STEP_STATS.badStream]!;
  if (bad < 0) return;
  if (bad >= streams.length) {
    throw new SdaError(
      'bad-logits',
      `no token is left for query ${query}: its weights overflow float32, or its mask keeps only what another stream finds impossible; lower them.`,
    );
  }
  const token = stats[STEP_STATS.badToken]!;
  const which = token >= 0 ? `of token ${token} is NaN or infinite` : 'row holds no finite value';
  throw new SdaError(
    'bad-logits',
    `the logit ${which} in the ${streams[bad]} stream of query ${query}: the weights are damaged or the model overflows; check the file, or load it with float32.`,
  );
}
