import { mersenne } from 'pure-rand/generator/mersenne';
import type { RandomGenerator } from 'pure-rand/types/RandomGenerator';
import type { SdaSettings } from '../method/settings.js';
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

/** A query that has a place in the batch. */
export interface Running {
  readonly index: number;
  readonly query: Query<unknown>;
  /** Its place in the batch: which rows of the caches it has */
  readonly place: number;
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

/** Gives a query its place. */
export function start(index: number, query: Query<unknown>, place: number, begun: number): Running {
  return {
    index,
    query,
    place,
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
export function limitOf({ query, lengths }: Running, steps: number, maxContext: number) {
  if (steps >= query.maxTokens) return 'length';
  return Math.max(...lengths) + steps >= maxContext ? 'context' : null;
}
