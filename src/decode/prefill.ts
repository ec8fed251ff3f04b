import type { Tensor1D, Tensor2D } from '@tensorflow/tfjs-core';
import { type DecoderModel, forward } from '../model/decoder.js';
import type { KvCache } from '../model/kv-cache.js';
import type { Incoming, PromptChunk } from './prompt-chunk.js';
import {
  firstChunk,
  PREFILL_CHUNK,
  type SharedPrefix,
  type Streams,
  type Stretch,
  sharedPrefixes,
} from './streams.js';

/** Where prompts go. */
export interface PrefillPlace {
  readonly cache: KvCache;
  /** The cache row of each prompt */
  readonly rows: readonly number[];
  /** Leading tokens of each prompt that its row already holds; default 0 */
  readonly known?: readonly number[] | undefined;
  /** See `ForwardOptions` */
  readonly taps?: readonly number[] | undefined;
}

/**
 * The prompts of a query on their way into the cache, a chunk at a time. What some of the prompts share is run once, and
 * its keys and values are copied. A query is run by itself, so that its logits are the same to the bit whatever else the
 * cache holds, on a GPU too; on the CPU also however it is cut into chunks.
 */
export class Prefill implements Incoming {
  /** Tokens of each prompt that its row holds */
  private readonly known: number[];
  private readonly shared: SharedPrefix[];
  private readonly promptLength: number;
  private result: Tensor2D | undefined;

  /** @param query prompts whose rotary angles are the same, see `rotationLength` */
  constructor(
    private readonly query: Streams,
    private readonly place: PrefillPlace,
  ) {
    this.known = query.map((_, stream) => place.known?.[stream] ?? 0);
    this.shared = sharedPrefixes(query).shared;
    this.promptLength = Math.max(...query.map((ids) => ids.length));
  }

  /** float32 [S, V + taps * hidden]: the logits after each prompt; undefined before the end. Whoever takes them disposes them. */
  get logits(): Tensor2D | undefined {
    return this.result;
  }

  /** A prompt has at most `PREFILL_CHUNK` tokens of it. */
  next(most: number): PromptChunk {
    const stretches = this.nextStretches();
    const columns = Math.min(PREFILL_CHUNK, Math.max(1, Math.floor(most / stretches.length)));
    const { batch, more } = firstChunk(stretches, columns);
    // every prompt ends in the last chunk, so its rows are all rows, in order
    const logits = this.shared.length > 0 || more ? 'none' : 'last';
    const { taps } = logits === 'last' ? this.place : {};
    return { batch, options: { logits, promptLength: this.promptLength, taps } };
  }

  ran({ batch: { ids, positions, rows } }: PromptChunk, read: Tensor2D | null): void {
    const columns = ids.length / rows.length;
    rows.forEach((row, line) => {
      this.known[this.place.rows.indexOf(row)] = positions[(line + 1) * columns - 1]! + 1;
    });
    this.result = read ?? undefined;
  }

  /** What is left of the part under way: a shared prefix in the row of one prompt, which is then copied, or the ends of all. */
  private nextStretches(): Stretch[] {
    for (;;) {
      const [part] = this.shared;
      if (!part) return this.query.map((ids, stream) => this.stretch(stream, ids.length));
      const leader = part.streams.reduce((a, b) => (this.known[b]! > this.known[a]! ? b : a));
      if (this.known[leader]! < part.end) return [this.stretch(leader, part.end)];
      this.shared.shift();
      this.copy(leader, part);
    }
  }

  private stretch(stream: number, end: number): Stretch {
    const start = this.known[stream]!;
    const ids = this.query[stream]!.slice(start, end);
    return { row: this.place.rows[stream]!, ids, start };
  }

  private copy(leader: number, { streams, end }: SharedPrefix): void {
    const { cache, rows } = this.place;
    for (const other of streams.filter((stream) => this.known[stream]! < end)) {
      cache.copyRow(rows[leader]!, rows[other]!, end);
      this.known[other] = end;
    }
  }
}

export interface PrefillOptions {
  /** The cache row of each prompt; default 0, 1, 2, ... */
  readonly rows?: readonly number[] | undefined;
  readonly logitBias?: Tensor1D | undefined;
  readonly beforeForward: () => Promise<void>;
}

/**
 * Runs the S prompts of a query into their cache rows, from the first chunk to the last: see `Prefill`.
 *
 * @returns float32 [S, V]: the logits after each prompt; the caller disposes it.
 */
export async function prefill(
  model: DecoderModel,
  query: Streams,
  cache: KvCache,
  { beforeForward, logitBias, rows = [...query.keys()] }: PrefillOptions,
): Promise<Tensor2D> {
  const whole = new Prefill(query, { cache, rows });
  while (!whole.logits) {
    await beforeForward();
    const chunk = whole.next(PREFILL_CHUNK * query.length);
    whole.ran(chunk, forward(model, chunk.batch, cache, { ...chunk.options, logitBias }));
  }
  return whole.logits;
}
