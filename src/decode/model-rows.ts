import {
  concat,
  gather,
  pad,
  reshape,
  slice,
  type Tensor1D,
  type Tensor2D,
  tidy,
} from '@tensorflow/tfjs-core';
import type { DrawnStep } from '../method/drawn-step.js';
import { type DecoderModel, forward } from '../model/decoder.js';
import { KvCache } from '../model/kv-cache.js';
import { rotationLength } from '../model/rotation.js';
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

  /**
   * @param streams which of a query's streams, in order
   * @param taps what follows the logits in each line: see `ForwardOptions`
   */
  constructor(
    readonly model: DecoderModel,
    readonly streams: readonly number[],
    { places, capacity, most }: Room,
    private readonly logitBias: Tensor1D | undefined,
    private readonly taps: readonly number[] = [],
  ) {
    this.cache = new KvCache(model.config, streams.length * places, capacity, most);
  }

  /** Runs a query's prompts. @returns float32 [streams, V + taps * hidden]; the caller disposes it. */
  async prefill(
    query: Streams,
    place: number,
    beforeForward: () => Promise<void>,
  ): Promise<Tensor2D> {
    const { logitBias, taps } = this;
    const lines = this.streams.map((stream, index) => ({
      ids: query[stream]!,
      row: this.rowOf(place, index),
      length: query[stream]!.length,
    }));
    return await this.byAngles(lines, (some) => {
      const rows = some.map(({ row }) => row);
      const prompts = some.map(({ ids }) => ids);
      return prefill(this.model, prompts, this.cache, { rows, logitBias, taps, beforeForward });
    });
  }

  /**
   * One forward of the newest token of each running query, in all these streams.
   *
   * @param before the step that drew those tokens, where it has not been read
   * @returns float32 [streams * queries, V + taps * hidden]; the caller disposes it.
   */
  forward(running: readonly Running[], before: DrawnStep<Running> | undefined): Promise<Tensor2D> {
    // all streams of a query take the same token, each at its own next position
    const lines = running.flatMap((each) => {
      const { lengths, drawn, steps, place } = each;
      const id = steps === drawn.length ? drawn.at(-1)! : before!.idOf(each);
      return this.streams.map((stream, index) => ({
        id,
        length: lengths[stream]! + steps,
        row: this.rowOf(place, index),
      }));
    });
    return this.byAngles(lines, async (some) => {
      const batch = {
        ids: Int32Array.from(some, ({ id }) => id),
        positions: Int32Array.from(some, ({ length }) => length - 1),
        rows: Int32Array.from(some, ({ row }) => row),
        drawn: before?.lines,
      };
      const { logitBias, taps } = this;
      return forward(this.model, batch, this.cache, { logits: 'last', logitBias, taps })!;
    });
  }

  private rowOf(place: number, index: number): number {
    return place * this.streams.length + index;
  }

  /**
   * Runs lines together whose rotary angles are the same: with some kinds of RoPE scaling they depend on the length, and
   * no line may have those of another.
   *
   * @returns what `run` gives for the lines, [lines, V], in their order
   */
  private async byAngles<Line extends { readonly length: number }>(
    lines: readonly Line[],
    run: (lines: readonly Line[]) => Promise<Tensor2D>,
  ): Promise<Tensor2D> {
    const keys = lines.map(({ length }) => rotationLength(this.model.config, length));
    const kinds = [...new Set(keys)];
    if (kinds.length === 1) return await run(lines);
    const order: number[] = [];
    const parts: Tensor2D[] = [];
    try {
      for (const kind of kinds) {
        const members = [...keys.keys()].filter((line) => keys[line] === kind);
        parts.push(await run(members.map((line) => lines[line]!)));
        order.push(...members);
      }
      const places = lines.map((_, line) => order.indexOf(line));
      return tidy(() => gather(concat(parts, 0), places) as Tensor2D);
    } finally {
      for (const part of parts) part.dispose();
    }
  }

  dispose(): void {
    this.cache.dispose();
  }
}

/**
 * Logits of several models as those of one: lines in the order of the streams, query after query, over the ids that all
 * of them have, and after them what taps have read, with zeros to the widest. Disposes `parts`.
 *
 * @param parts float32 [streams of the model * queries, V of the model + taps * hidden], of each of `models`
 * @returns float32 [S * queries, least V + widest taps * hidden]; the caller disposes it.
 */
export function joinModels(parts: readonly Tensor2D[], models: readonly ModelRows[]): Tensor2D {
  if (parts.length === 1) return parts[0]!;
  const sizes = models.map(({ model }) => model.config.vocabSize);
  const V = Math.min(...sizes);
  const widest = Math.max(...parts.map(({ shape }, index) => shape[1] - sizes[index]!));
  try {
    return tidy(() => {
      const byQuery = parts.map((part, index) => {
        const S = models[index]!.streams.length;
        const logits = slice(part, [0, 0], [-1, V]);
        const line = widest > 0 ? withTaps(logits, part, sizes[index]!, widest) : logits;
        return reshape(line, [part.shape[0] / S, S, V + widest]);
      });
      const order = models.flatMap(({ streams }) => streams); // what stands where now
      const places = order.map((_, stream) => order.indexOf(stream));
      const joined = gather(concat(byQuery, 1), places, 1);
      return reshape(joined, [-1, V + widest]) as Tensor2D;
    });
  } finally {
    for (const part of parts) part.dispose();
  }
}

/** Logits with what follows column `from` of `part`, and zeros up to `width` more columns. */
function withTaps(logits: Tensor2D, part: Tensor2D, from: number, width: number): Tensor2D {
  const tapped = part.shape[1] - from;
  const padded = pad(slice(part, [0, from], [-1, tapped]), [
    [0, 0],
    [0, width - tapped],
  ]);
  return concat([logits, padded], 1) as Tensor2D;
}
