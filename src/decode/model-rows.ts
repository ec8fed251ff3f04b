import type { Tensor1D, Tensor2D } from '@tensorflow/tfjs-core';
import {
  type DecoderModel,
  type ForwardOptions,
  forward,
  type TokenBatch,
} from '../model/decoder.js';
import { KvCache } from '../model/kv-cache.js';
import { rotationLength } from '../model/rotation.js';
import { onGpu } from '../runtime/backend.js';
import { hasNativeKernel } from '../runtime/native.js';
import { GivenTokens } from './given-tokens.js';
import { apart, joined } from './joined-batch.js';
import { Prefill } from './prefill.js';
import type { PromptChunk } from './prompt-chunk.js';
import { RowPool } from './row-pool.js';
import { type Query, type Running, type Seat, sameIds } from './running.js';
import type { StepDraw } from './step-draw.js';
import type { LineOwner, StepLogits } from './step-logits.js';
import { layersRead } from './taps.js';

/** How many streams a model runs at once, and how long they may get. */
export interface Room {
  readonly rows: number;
  /** Positions of a stream, at first and at most */
  readonly capacity: number;
  readonly most: number;
}

export interface ModelRowsOptions {
  readonly logitBias?: Tensor1D | undefined;
  /** Let queries begin with what other rows hold of their prompts; default: where that keeps every bit */
  readonly reuse?: boolean | undefined;
}

/** One model and the cache of all streams that it runs. */
export class ModelRows {
  readonly cache: KvCache;
  readonly pool: RowPool;

  constructor(
    readonly model: DecoderModel,
    { rows, capacity, most }: Room,
    private readonly options: ModelRowsOptions,
  ) {
    this.cache = new KvCache(model.config, rows, capacity, most, model.kv);
    this.pool = new RowPool(rows);
  }

  /** float32 [V], added to the logits */
  get logitBias(): Tensor1D | undefined {
    return this.options.logitBias;
  }

  /**
   * Gives rows to prompts, and copies into them what other rows hold of the same tokens.
   *
   * @param streams which of a query's streams these prompts are
   * @param options.taps after how many layers something is read where the prompts end, see `ForwardOptions`
   * @param options.reuse what other rows hold; default: as the engine does
   * @returns the rows, and the prompts on their way into them; null where too few rows are free
   */
  seat(
    prompts: readonly (readonly number[])[],
    streams: readonly number[],
    options: { readonly taps?: readonly number[]; readonly reuse?: boolean | undefined } = {},
  ): { seat: Seat; arrivals: PromptArrival[] } | null {
    const { pool, cache } = this;
    const { taps, reuse = this.options.reuse ?? sumsInOneOrder() } = options;
    if (pool.free < prompts.length) return null;
    const contents = prompts.map((ids) => ({ ids, angles: this.anglesOf(ids.length) }));
    const matches = contents.map((content) => (reuse ? pool.match(content) : undefined));
    const spared = new Set(matches.flatMap((match) => match?.row ?? []));
    const rows = matches.map((match) => pool.take(match?.row, spared));
    const known = matches.map((match, index) => {
      if (!match) return 0;
      const taker = rows.indexOf(match.row); // another stream for which the row was merely free will overwrite it
      if (taker >= 0 && matches[taker]?.row !== match.row) return 0;
      return match.row === rows[index] || this.copied(match.row, rows[index]!, match.length)
        ? match.length
        : 0;
    });
    const kinds = [...new Set(contents.map(({ angles }) => angles))];
    const arrivals = kinds.map((kind) => {
      const members = [...contents.keys()].filter((index) => contents[index]!.angles === kind);
      const of = <T>(values: readonly T[]) => members.map((index) => values[index]!);
      const place = {
        cache,
        rows: of(rows),
        known: of(known),
        taps,
      };
      const prefill = new Prefill(of(prompts), place);
      return { prefill, streams: of(streams) };
    });
    return { seat: { of: this, streams, rows }, arrivals };
  }

  /** The tokens of the one prompt of a seat as given ones. */
  given({ streams, rows }: Seat, { streams: prompts }: Query<unknown>, top: number): GivenTokens {
    return new GivenTokens(prompts[streams[0]!]!, top, rows[0]!);
  }

  /** Says what the rows of a query hold, whose tokens up to the newest `drawn` are in the cache. */
  note({ streams, rows }: Seat, { query }: Pick<Running, 'query'>, drawn: readonly number[]): void {
    streams.forEach((stream, index) => {
      const prompt = query.streams[stream]!;
      const ids = [...prompt, ...drawn];
      const angles = this.anglesOf(prompt.length);
      // where the text outgrew its angles, the row has keys of several
      const content = this.anglesOf(ids.length) === angles ? { ids, angles } : undefined;
      this.pool.hold(rows[index]!, content);
    });
  }

  /** A seat for another query with the same prompts, whose rows hold them already; null where there is no room for it. */
  copy({ streams, rows }: Seat, { query }: Pick<Running, 'query'>): Seat | null {
    if (this.pool.free < rows.length) return null;
    const seat = { of: this, streams, rows: rows.map(() => this.pool.take()) };
    const copied = rows.every((from, index) =>
      this.copied(from, seat.rows[index]!, query.streams[streams[index]!]!.length),
    );
    if (!copied) this.leave(seat);
    return copied ? seat : null;
  }

  /** Copies the beginning of a row. @returns false where memory ran out: the tokens must be run then */
  private copied(from: number, to: number, length: number): boolean {
    try {
      this.cache.copyRow(from, to, length);
      return true;
    } catch {
      return false;
    }
  }

  /** Takes the rows of a query back. */
  leave({ rows }: Seat): void {
    for (const row of rows) this.pool.giveBack(row);
  }

  /**
   * One forward of the newest token of each running query, in all its streams that this model runs; their logits go to
   * `logits`.
   *
   * @param before the step that drew those tokens, where it has not been read
   * @param chunk of prompts, to be run in the same forward, which then reads the weights once for both
   * @returns what is read of the chunk; undefined where it could not run beside the step, and has not run
   */
  forward(
    running: readonly Running[],
    before: StepDraw | undefined,
    logits: StepLogits,
    chunk?: PromptChunk,
  ): Tensor2D | null | undefined {
    const taps = layersRead(running, this.model);
    const lines = this.linesOf(running, before);
    if (chunk && this.fits(chunk, lines, taps)) {
      const { batch, read } = joined(batchOf(lines, before), chunk);
      try {
        const all = this.run(batch, { ...chunk.options, logits: read, taps });
        const found = apart(all!, lines.length);
        logits.add(this, lines, { lines: found.step, taps });
        return found.chunk;
      } catch {
        // whose fault it is shows where each runs alone
      }
    }
    // lines whose rotary angles differ do not run together, and no line may have those of another
    for (const kind of new Set(lines.map(({ angles }) => angles))) {
      const some = lines.filter(({ angles }) => angles === kind);
      const read = this.run(batchOf(some, before), { logits: 'last', taps })!;
      logits.add(this, some, { lines: read, taps });
    }
    return undefined;
  }

  /** The forward of a chunk of prompts by itself. @returns what is read of it */
  bringIn({ batch, options }: PromptChunk): Tensor2D | null {
    return this.run(batch, options);
  }

  private run(batch: TokenBatch, options: ForwardOptions): Tensor2D | null {
    return forward(this.model, batch, this.cache, { ...options, logitBias: this.logitBias });
  }

  /** Whether a chunk can run beside a step: with the same bits, the same rotary angles, and the same read inside the model. */
  private fits({ options }: PromptChunk, lines: readonly Line[], taps: readonly number[]): boolean {
    if (!sumsInOneOrder() || lines.length === 0) return false;
    const angles = this.anglesOf(options.promptLength);
    if (lines.some((line) => line.angles !== angles)) return false;
    return options.logits === 'none' || sameIds(options.taps ?? [], taps);
  }

  /** The newest token of each running query in each of its streams here, which stands at its own next position. */
  private linesOf(running: readonly Running[], before: StepDraw | undefined): Line[] {
    return running.flatMap((owner) => {
      const seat = owner.seats.find(({ of }) => of === this);
      if (!seat) return [];
      const { lengths, drawn, steps } = owner;
      const id = steps === drawn.length ? drawn.at(-1)! : before!.idOf(owner);
      return seat.streams.map((stream, index) => {
        const length = lengths[stream]! + steps;
        return { owner, stream, id, length, row: seat.rows[index]!, angles: this.anglesOf(length) };
      });
    });
  }

  /** With some kinds of RoPE scaling the rotary angles depend on the length. */
  private anglesOf(length: number): number {
    return rotationLength(this.model.config, length);
  }

  dispose(): void {
    this.cache.dispose();
  }
}

/** Whether a token's keys and values are the same to the bit in any chunk: the native kernels promise it on the CPU. */
function sumsInOneOrder(): boolean {
  return !onGpu() && hasNativeKernel('SdaDecoderLayers');
}

/** A token of a running stream. */
interface Line extends LineOwner {
  readonly id: number;
  /** Of its stream, this token included */
  readonly length: number;
  readonly row: number;
  readonly angles: number;
}

function batchOf(lines: readonly Line[], before: StepDraw | undefined): TokenBatch {
  return {
    ids: Int32Array.from(lines, ({ id }) => id),
    positions: Int32Array.from(lines, ({ length }) => length - 1),
    rows: Int32Array.from(lines, ({ row }) => row),
    drawn: before?.lines,
  };
}

/** Prompts on their way into the cache, with the streams that they are. */
export interface PromptArrival {
  readonly prefill: Prefill;
  readonly streams: readonly number[];
}
