import { mersenne } from 'pure-rand/generator/mersenne';
import type { RandomGenerator } from 'pure-rand/types/RandomGenerator';
import type { Choice, StepRule } from '../method/rule.js';
import type { SdaSettings } from '../method/settings.js';
import type { Tap } from '../method/taps.js';
import type { DecoderModel } from '../model/decoder.js';
import type { ModelRows } from './model-rows.js';
import type { Streams } from './streams.js';

/** One query of a batch. */
export interface Query<S = Partial<SdaSettings>> {
  /** The prompts of its streams, in the order of the rule */
  readonly streams: Streams;
  /** What the rule is told of it; of SDA: its amplification a, and whatever else is its own */
  readonly settings: S;
  /** Fixes the query's text, whatever else is in the batch; its low 32 bits count. */
  readonly seed: number;
  readonly maxTokens: number;
}

/** How a query is decoded. */
export interface Decoding<S = unknown, C extends Choice = Choice> {
  readonly rule: StepRule<S, C>;
  /** The model that runs each stream */
  readonly models: readonly DecoderModel[];
  /** Ids that end its text; not part of it */
  readonly stopIds: ReadonlySet<number>;
  /** Of the streams, for errors; default: their numbers */
  readonly names?: readonly string[] | undefined;
  /** Positions a stream may hold, prompt and answer together */
  readonly maxContext: number;
  /** Called with each token; true ends the query after it (stop strings) */
  readonly finished?: ((query: number, choice: C) => boolean) | undefined;
}

/** The rows that a query has in the cache of one model. */
export interface Seat {
  readonly of: ModelRows;
  /** Which of the query's streams, in order */
  readonly streams: readonly number[];
  /** The row of each of them */
  readonly rows: readonly number[];
}

/** A query that has its rows. */
export interface Running {
  /** The caller's number of it, by which its rule keeps state */
  readonly index: number;
  readonly query: Query<unknown>;
  readonly decoding: Decoding;
  /** What its rule reads inside its models */
  readonly taps: readonly Tap[];
  readonly seats: readonly Seat[];
  readonly random: RandomGenerator;
  /** Of its prompts, in tokens */
  readonly lengths: readonly number[];
  /** Tokens drawn for it so far, read or not */
  steps: number;
  /** Those that have been read */
  readonly drawn: number[];
  /** Its text has ended; what was drawn after that is dropped. */
  over: boolean;
  readonly begun: number;
  firstTokenAt: number;
}

/** Lets a query begin that has its rows. */
export function start(
  arrival: Pick<Running, 'index' | 'query' | 'decoding' | 'taps'>,
  seats: readonly Seat[],
  begun: number,
): Running {
  const { index, query, decoding, taps } = arrival;
  return {
    index,
    query,
    decoding,
    taps,
    seats,
    random: mersenne(query.seed), // its seeding mixes the seed: small seeds give unrelated first numbers
    lengths: query.streams.map((ids) => ids.length),
    steps: 0,
    drawn: [],
    over: false,
    begun,
    firstTokenAt: 0,
  };
}

/** Why a text ends after `steps` tokens, whatever they are; null where it does not. */
export function limitOf({ query, lengths, decoding }: Running, steps: number) {
  if (steps >= query.maxTokens) return 'length';
  return Math.max(...lengths) + steps >= decoding.maxContext ? 'context' : null;
}

/** Whether two queries have the same prompts, run by the same models. */
export function samePrompts(
  a: Pick<Running, 'query' | 'decoding'>,
  b: Pick<Running, 'query' | 'decoding'>,
): boolean {
  const { models } = b.decoding;
  return (
    a.decoding.models.length === models.length &&
    a.decoding.models.every((model, stream) => model === models[stream]) &&
    a.query.streams.every((ids, stream) => sameIds(ids, b.query.streams[stream]!))
  );
}

export function sameIds(a: readonly number[], b: readonly number[]): boolean {
  return a === b || (a.length === b.length && a.every((id, index) => id === b[index]));
}
