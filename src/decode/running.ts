import type { Tensor1D, Tensor2D } from '@tensorflow/tfjs-core';
import { mersenne } from 'pure-rand/generator/mersenne';
import type { RandomGenerator } from 'pure-rand/types/RandomGenerator';
import type { DrawnStep } from '../method/drawn-step.js';
import { type DecoderModel, forward } from '../model/decoder.js';
import type { KvCache } from '../model/kv-cache.js';
import type { Streams } from './streams.js';

/** One query of a batch. */
export interface Query {
  readonly streams: Streams;
  /** a (eq 3) */
  readonly amplification: number;
  /** Fixes the query's text, whatever else is in the batch; its low 32 bits count. */
  readonly seed: number;
  readonly maxTokens: number;
}

/** A query that has a place in the batch. */
export interface Running {
  readonly index: number;
  readonly query: Query;
  /** Its first row of the cache */
  readonly row: number;
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
export function start(index: number, query: Query, row: number, begun: number): Running {
  return {
    index,
    query,
    row,
    random: mersenne(query.seed), // its seeding mixes the seed: small seeds give unrelated first numbers
    lengths: query.streams.map((ids) => ids!.length),
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

/**
 * One forward of the newest token of each running query, in all its streams.
 *
 * @param before the step that drew those tokens, where it has not been read
 * @returns float32 [streams * queries, V]; the caller disposes it.
 */
export function forwardAll(
  model: DecoderModel,
  running: readonly Running[],
  before: DrawnStep<Running> | undefined,
  cache: KvCache,
  logitBias: Tensor1D | undefined,
): Tensor2D {
  // both streams of a query take the same token, each at its own next position
  const lines = running.flatMap((each) => {
    const { lengths, drawn, steps, row } = each;
    const id = steps === drawn.length ? drawn.at(-1)! : before!.idOf(each);
    return lengths.map((length, stream) => ({
      id,
      position: length + steps - 1,
      row: row + stream,
    }));
  });
  const batch = {
    ids: Int32Array.from(lines, ({ id }) => id),
    positions: Int32Array.from(lines, ({ position }) => position),
    rows: Int32Array.from(lines, ({ row }) => row),
    drawn: before?.lines,
  };
  return forward(model, batch, cache, { logits: 'last', logitBias })!;
}
