import {
  concat,
  concat2d,
  gather,
  type Rank,
  slice,
  type Tensor2D,
  tensor1d,
  tidy,
  zeros,
} from '@tensorflow/tfjs-core';
import type { Tap } from '../method/taps.js';
import type { ModelRows } from './model-rows.js';
import type { Running } from './running.js';

/** Whose logits a line is. */
export interface LineOwner {
  readonly owner: Running;
  /** Which of its streams */
  readonly stream: number;
}

/** What a forward has said of some streams, a line each. */
export interface ForwardLines {
  /** float32 [streams, V + taps * hidden]: logits, then the hidden states that were read */
  readonly lines: Tensor2D;
  /** After how many layers those were read, see `ForwardOptions` */
  readonly taps: readonly number[];
}

/** Hidden states of the lines of a table from `first` on. */
interface States {
  readonly first: number;
  readonly taps: readonly number[];
  /** float32 [lines, taps * hidden] */
  readonly values: Tensor2D;
}

/** The logits of one model, and the line of each stream of each query. */
interface Table {
  parts: Tensor2D[];
  readonly states: States[];
  lines: number;
  readonly lineOf: Map<Running, number[]>;
}

/** The logits of one step: of each model those of all streams that it ran, in whatever order they came. */
export class StepLogits {
  private readonly tables = new Map<ModelRows, Table>();

  /** @param said of the owners; from now on it belongs to this */
  add(of: ModelRows, owners: readonly LineOwner[], { lines, taps }: ForwardLines): void {
    const empty = { parts: [], states: [], lines: 0, lineOf: new Map() };
    const table: Table = this.tables.get(of) ?? empty;
    this.tables.set(of, table);
    if (taps.length === 0) table.parts.push(lines);
    else {
      const V = of.model.config.vocabSize;
      table.parts.push(slice(lines, [0, 0], [-1, V]));
      table.states.push({ first: table.lines, taps, values: slice(lines, [0, V], [-1, -1]) });
      lines.dispose();
    }
    for (const { owner, stream } of owners) {
      const lines = table.lineOf.get(owner) ?? [];
      lines[stream] = table.lines++;
      table.lineOf.set(owner, lines);
    }
  }

  /** Lets another query with the same prompts draw from the same lines. */
  share(from: Running, to: Running): void {
    for (const { lineOf } of this.tables.values()) {
      const lines = lineOf.get(from);
      if (lines) lineOf.set(to, lines);
    }
  }

  /**
   * Hands `body` the logits of queries that have the same models: float32 [S * queries, V], line S b + s is stream s of
   * query b, over the ids that all of their models have. They live until `body` is done.
   */
  async use<T>(queries: readonly Running[], body: (logits: Tensor2D) => Promise<T>): Promise<T> {
    const logits = this.of(queries);
    try {
      return await body(logits);
    } finally {
      if (!this.owns(logits)) logits.dispose();
    }
  }

  /**
   * What was read of a stream of some queries after so many layers: float32 [queries, hidden]; zeros for a query of which
   * it was not. The caller disposes it.
   */
  states(
    of: ModelRows,
    queries: readonly Running[],
    { stream, after }: Pick<Tap, 'stream' | 'after'>,
  ): Tensor2D {
    const { states, lineOf } = this.tables.get(of)!;
    const hidden = of.model.config.hiddenSize;
    return tidy(() => {
      const lines = queries.map((query) => {
        const line = lineOf.get(query)![stream]!;
        const part = states.find(
          ({ first, values, taps }) =>
            line >= first && line < first + values.shape[0] && taps.includes(after),
        );
        if (!part) return zeros<Rank.R2>([1, hidden]);
        const begin = [line - part.first, part.taps.indexOf(after) * hidden] as [number, number];
        return slice(part.values, begin, [1, hidden]);
      });
      return concat2d(lines, 0);
    });
  }

  private owns(logits: Tensor2D): boolean {
    return [...this.tables.values()].some(({ parts }) => parts.includes(logits));
  }

  private of(queries: readonly Running[]): Tensor2D {
    const { seats, lengths } = queries[0]!;
    const S = lengths.length;
    const tables = seats.map((seat) => ({ seat, whole: this.joined(seat.of) }));
    const [only] = tables;
    if (tables.length === 1) {
      const lines = queries.flatMap((query) => only!.whole.lineOf.get(query)!);
      return linesOf(only!.whole, lines);
    }
    return tidy(() => {
      const V = Math.min(...tables.map(({ whole }) => whole.parts[0]!.shape[1]));
      const places: number[] = []; // what stands where in the lines of all models, one after the other
      let above = 0;
      const parts = tables.map(({ seat, whole }) => {
        const lines = queries.flatMap((query, b) =>
          seat.streams.map((stream) => {
            places[S * b + stream] = above++;
            return whole.lineOf.get(query)![stream]!;
          }),
        );
        const part = linesOf(whole, lines);
        return slice(part, [0, 0], [-1, V]);
      });
      return gather(concat(parts, 0), tensor1d(places, 'int32'));
    });
  }

  private joined(of: ModelRows): Table {
    const table = this.tables.get(of)!;
    if (table.parts.length > 1) {
      const whole = concat2d(table.parts, 0);
      for (const part of table.parts) part.dispose();
      table.parts = [whole];
    }
    return table;
  }

  dispose(): void {
    for (const { parts, states } of this.tables.values()) {
      for (const tensor of [...parts, ...states.map(({ values }) => values)]) tensor.dispose();
    }
    this.tables.clear();
  }
}

/** The lines of a table: the table itself where these are all of them, in order. */
function linesOf({ parts, lines: count }: Table, lines: readonly number[]): Tensor2D {
  const [whole] = parts;
  if (lines.length === count && lines.every((line, index) => line === index)) return whole!;
  return tidy(() => gather(whole!, tensor1d([...lines], 'int32')));
}
