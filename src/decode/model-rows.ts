import type { Tensor1D } from '@tensorflow/tfjs-core';
import { type DecoderModel, forward } from '../model/decoder.js';
import { KvCache } from '../model/kv-cache.js';
import { rotationLength } from '../model/rotation.js';
import { onGpu } from '../runtime/backend.js';
import { hasNativeKernel } from '../runtime/native.js';
import { GivenTokens } from './given-tokens.js';
import { Prefill } from './prefill.js';
import { RowPool } from './row-pool.js';
import type { Query, Running, Seat } from './running.js';
import type { StepDraw } from './step-draw.js';
import type { StepLogits } from './step-logits.js';
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
    const { pool, model, cache } = this;
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
        logitBias: this.logitBias,
        taps,
      };
      const prefill = new Prefill(model, of(prompts), place);
      return { prefill, streams: of(streams) };
    });
    return { seat: { of: this, streams, rows }, arrivals };
  }

  /** The tokens of the one prompt of a seat as given ones. */
  given({ streams, rows }: Seat, { streams: prompts }: Query<unknown>, top: number): GivenTokens {
    const place = { cache: this.cache, row: rows[0]!, logitBias: this.logitBias };
    return new GivenTokens(this.model, prompts[streams[0]!]!, top, place);
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
   */
  forward(running: readonly Running[], before: StepDraw | undefined, logits: StepLogits): void {
    const taps = layersRead(running, this.model);
    // all streams of a query take the same token, each at its own next position
    const lines = running.flatMap((owner) => {
      const seat = owner.seats.find(({ of }) => of === this);
      if (!seat) return [];
      const { lengths, drawn, steps } = owner;
      const id = steps === drawn.length ? drawn.at(-1)! : before!.idOf(owner);
      return seat.streams.map((stream, index) => {
        const length = lengths[stream]! + steps;
        return { owner, stream, id, length, row: seat.rows[index]!, angles: this.anglesOf(length) };
      });
    });
    // lines whose rotary angles differ do not run together, and no line may have those of another
    for (const kind of new Set(lines.map(({ angles }) => angles))) {
      const some = lines.filter(({ angles }) => angles === kind);
      const batch = {
        ids: Int32Array.from(some, ({ id }) => id),
        positions: Int32Array.from(some, ({ length }) => length - 1),
        rows: Int32Array.from(some, ({ row }) => row),
        drawn: before?.lines,
      };
      const { logitBias } = this;
      const options = { logits: 'last', logitBias, taps } as const;
      logits.add(this, some, { lines: forward(this.model, batch, this.cache, options)!, taps });
    }
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

/** Prompts on their way into the cache, with the streams that they are. */
export interface PromptArrival {
  readonly prefill: Prefill;
  readonly streams: readonly number[];
}
