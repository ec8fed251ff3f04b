import type { Tensor2D } from '@tensorflow/tfjs-core';
import type { Tap, Tapped, TappedModel } from './taps.js';

/** What one step says of one query; a rule adds its own statistics. */
export interface Choice {
  /** The token that all streams of the query take next */
  readonly id: number;
  /** Its log-probability under the distribution it was drawn from, before top-k, top-p and min-p cut the tail, nats */
  readonly logp: number;
  /**
   * The number of another query of this step, with the same prompts, whose text goes on with this token in place of its
   * own, which is forgotten: a fork. Only of choices that the host makes, and not of a query that others go on with.
   */
  readonly continues?: number | undefined;
}

/** What a step rule drew, on the device. */
export interface Draw<C extends Choice = Choice> {
  /** float32 [B, W], a line a query that begins with the drawn token id; whoever takes the draw disposes it. */
  readonly lines: Tensor2D;
  /**
   * What a line says, once it has been read.
   *
   * @throws SdaError `bad-logits`
   */
  readonly choice: (line: Float32Array, index: number) => C;
}

export type Drawn<C extends Choice = Choice> = Draw<C> | readonly C[];

/** What a step rule is told of the B queries of a step, beside their logits. */
export interface StepDraws<S = unknown> {
  /** The rule's settings of each query */
  readonly settings: readonly S[];
  /** One number in 0..1 (1 excluded) a query, from the query's own seed */
  readonly uniforms: readonly number[];
  /** The caller's number of each query, for errors and for state; default 0, 1, 2, ... */
  readonly queries?: readonly number[];
  /** What `taps` of the rule asked for; absent where it has none */
  readonly tapped?: Tapped;
}

/** The streams that queries come with. */
export interface GivenStreams {
  readonly count: number;
  /** Those that `decode` was given, in order; undefined where it was given none */
  readonly names: readonly string[] | undefined;
}

/**
 * How logits become tokens: float32 [S B, V] in, where line S b + s is stream s of query b, one choice a query out. The
 * logits hold -Infinity for ids that no token has; they are the caller's, who disposes them. After a `Draw` the next
 * step can begin before the host has read this one; choices that the host makes are waited for.
 *
 * A rule that keeps state has it by the query's number: `begin` comes before a query's first step, `end` after its last
 * token has been read, or when it is given up.
 */
export interface StepRule<S = never, C extends Choice = Choice> {
  (logits: Tensor2D, draws: StepDraws<S>): Drawn<C> | Promise<Drawn<C>>;
  /** Refuses the settings or the streams of a query, by throwing, before anything runs. */
  readonly check?: (query: number, settings: S, streams: GivenStreams) => void;
  /**
   * What it reads inside the models, by the settings of a query; asked once, before anything runs. A step reads what the
   * queries that run have named, and nothing where they have named nothing.
   *
   * @param models of each stream
   */
  readonly taps?: (settings: S, models: readonly TappedModel[]) => readonly Tap[];
  readonly begin?: (query: number, settings: S) => void;
  readonly end?: (query: number) => void;
}

/** Reads a draw, and disposes it: for a rule that looks at the choices of another. */
export async function readDraw<C extends Choice>(draw: Draw<C>): Promise<C[]> {
  const count = draw.lines.shape[0];
  const values = (await draw.lines.data()) as Float32Array;
  draw.lines.dispose();
  return Array.from({ length: count }, (_, index) => choiceOf(draw, values, index));
}

/** What line `index` of a draw says, of all its values. */
export function choiceOf<C extends Choice>(
  { lines, choice }: Draw<C>,
  values: Float32Array,
  index: number,
): C {
  const width = lines.shape[1];
  return choice(values.subarray(index * width, (index + 1) * width), index);
}
