import {
  concat,
  gather,
  reshape,
  slice,
  type Tensor1D,
  type Tensor2D,
  tidy,
} from '@tensorflow/tfjs-core';
import type { DrawnStep } from '../method/drawn-step.js';
import { type DecoderModel, forward } from '../model/decoder.js';
import { KvCache } from '../model/kv-cache.js';
import type { Running } from './running.js';
import { prefill, type Streams } from './streams.js';

/** How many places a batch has, and how long its streams may get. */
export interface Room {
  /** Queries that run at once */
  readonly places: number;
  /** Positions of a stream, at first and at most */
  readonly capacity: number;
  readonly most: number;
}

/** Those streams of every query that one model runs, and their rows in its cache: one line of rows a place. */
export class ModelRows {
  private readonly cache: KvCache;

  /** @param streams which of a query's streams, in order */
  constructor(
    readonly model: DecoderModel,
    readonly streams: readonly number[],
    { places, capacity, most }: Room,
    private readonly logitBias: Tensor1D | undefined,
  ) {
    this.cache = new KvCache(model.config, streams.length * places, capacity, most);
  }

  /** Runs a query's prompts. @returns float32 [streams, V]; the caller disposes it. */
  prefill(query: Streams, place: number, beforeForward: () => Promise<void>): Promise<Tensor2D> {
    const prompts = this.streams.map((stream) => query[stream]!);
    const row = place * this.streams.length;
    return prefill(this.model, prompts, this.cache, {
      row,
      logitBias: this.logitBias,
      beforeForward,
    });
  }

  /**
   * One forward of the newest token of each running query, in all these streams.
   *
   * @param before the step that drew those tokens, where it has not been read
   * @returns float32 [streams * queries, V]; the caller disposes it.
   */
  forward(running: readonly Running[], before: DrawnStep<Running> | undefined): Tensor2D {
    // all streams of a query take the same token, each at its own next position
    const lines = running.flatMap((each) => {
      const { lengths, drawn, steps, place } = each;
      const id = steps === drawn.length ? drawn.at(-1)! : before!.idOf(each);
      return this.streams.map((stream, index) => ({
        id,
        position: lengths[stream]! + steps - 1,
        row: place * this.streams.length + index,
      }));
    });
    const batch = {
      ids: Int32Array.from(lines, ({ id }) => id),
      positions: Int32Array.from(lines, ({ position }) => position),
      rows: Int32Array.from(lines, ({ row }) => row),
      drawn: before?.lines,
    };
    return forward(this.model, batch, this.cache, { logits: 'last', logitBias: this.logitBias })!;
  }

  dispose(): void {
    this.cache.dispose();
  }
}

/**
 * Logits of several models as those of one: lines in the order of the streams, query after query, over the ids that all
 * of them have. Disposes `parts`.
 *
 * @param parts float32 [streams of the model * queries, V of the model], of each of `models`
 * @returns float32 [S * queries, least V]; the caller disposes it.
 */
export function joinModels(parts: readonly Tensor2D[], models: readonly ModelRows[]): Tensor2D {
  if (parts.length === 1) return parts[0]!;
  try {
    return tidy(() => {
      const V = Math.min(...parts.map(({ shape }) => shape[1]));
      const byQuery = parts.map((part, index) => {
        const S = models[index]!.streams.length;
        return reshape(slice(part, [0, 0], [-1, V]), [part.shape[0] / S, S, V]);
      });
      const order = models.flatMap(({ streams }) => streams); // what stands where now
      const places = order.map((_, stream) => order.indexOf(stream));
      const joined = gather(concat(byQuery, 1), places, 1);
      return reshape(joined, [-1, V]) as Tensor2D;
    });
  } finally {
    for (const part of parts) part.dispose();
  }
}
