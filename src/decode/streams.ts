import { SdaError } from '../errors.js';
import type { TokenBatch } from '../model/decoder.js';

/** Tokens a forward of a prompt takes at most from each stream: bounds the memory of activations. */
export const PREFILL_CHUNK = 512;

/**
 * The prompts of one query's streams as token ids: for SDA the base prompt (Q) and the instructed one (Q and I); or a
 * single prompt, decoded plainly; or those of another rule, up to `MOST_STREAMS`.
 */
export type Streams = readonly (readonly number[])[];

/** A stretch of one stream to run: `ids`, the first of them at position `start`, into cache row `row`. */
export interface Stretch {
  readonly row: number;
  readonly ids: readonly number[];
  readonly start: number;
}

/** How many leading tokens all streams of a query share, leaving at least one token of each to run; 0 of one stream. */
export function sharedPrefixLength(streams: Streams): number {
  const [first, ...others] = streams;
  if (!first || others.length === 0) return 0;
  const most = Math.min(...streams.map((ids) => ids.length)) - 1;
  let length = 0;
  while (length < most && others.every((ids) => ids[length] === first[length])) length++;
  return length;
}

/** What several streams share beyond `start`: run in the row of the first, and copied to the others. */
export interface SharedPrefix {
  /** Streams, by their place in the query */
  readonly streams: readonly number[];
  readonly start: number;
  readonly end: number;
}

/** What each subset of a query's streams shares, larger subsets first; and from where each stream goes on alone. */
export function sharedPrefixes(query: Streams): { shared: SharedPrefix[]; starts: number[] } {
  const shared: SharedPrefix[] = [];
  const starts = query.map(() => 0);
  /** Those of `streams`, equal up to `start`, that go on with the same token. */
  const split = (streams: readonly number[], start: number) => {
    const next = new Map<number, number[]>();
    for (const stream of streams) {
      const id = query[stream]![start]!;
      if (query[stream]!.length === start + 1) continue; // its last token
      next.set(id, [...(next.get(id) ?? []), stream]);
    }
    for (const group of next.values()) {
      const end = sharedPrefixLength(group.map((stream) => query[stream]!));
      if (group.length === 1) continue;
      shared.push({ streams: group, start, end });
      for (const stream of group) starts[stream] = end;
      split(group, end);
    }
  };
  split([...query.keys()], 0);
  return { shared, starts };
}

/** A batch is at least this wide, where that many columns are left: narrower ones leave the processor idle. */
const LEAST_COLUMNS = 16;

/**
 * Stretches of different lengths as batches of at most `most` columns, aligned at their ends, so that
 * every stretch ends in the last batch. A batch ends where its shortest stretch begins: what the longer ones have
 * before that comes in a batch without it. Padding, on the left, is only there to make a batch wide enough.
 */
export function chunks(stretches: readonly Stretch[], most = PREFILL_CHUNK): TokenBatch[] {
  const width = Math.max(0, ...stretches.map(({ ids }) => ids.length));
  const batches: TokenBatch[] = [];
  for (let done = 0; done < width; ) {
    const present = stretches.filter(({ ids }) => ids.length > done);
    const shortest = Math.min(...present.map(({ ids }) => ids.length)) - done;
    const columns = Math.min(most, width - done, Math.max(shortest, LEAST_COLUMNS));
    batches.unshift(window(present, done, columns));
    done += columns;
  }
  return batches;
}

/**
 * The first batch of `chunks`, and whether others follow. Pieces of one stretch alone that are shorter than `PREFILL_CHUNK`
 * begin at its beginning, so that each of them but the last is as long as it may be, whatever is allowed for the next.
 */
export function firstChunk(
  stretches: readonly Stretch[],
  most: number,
): { readonly batch: TokenBatch; readonly more: boolean } {
  const [first] = stretches;
  if (stretches.length === 1 && most < PREFILL_CHUNK && first!.ids.length > most) {
    return { batch: window([{ ...first!, ids: first!.ids.slice(0, most) }], 0, most), more: true };
  }
  const [batch, ...others] = chunks(stretches, most);
  return { batch: batch!, more: others.length > 0 };
}

/** The `columns` tokens of each stretch that end `fromEnd` tokens before its last, padded on the left. */
function window(stretches: readonly Stretch[], fromEnd: number, columns: number): TokenBatch {
  const ids = new Int32Array(stretches.length * columns);
  const positions = new Int32Array(stretches.length * columns).fill(-1);
  stretches.forEach((stretch, line) => {
    const stop = stretch.ids.length - fromEnd;
    for (let column = Math.max(0, columns - stop); column < columns; column++) {
      const token = stop - columns + column;
      ids[line * columns + column] = stretch.ids[token]!;
      positions[line * columns + column] = stretch.start + token;
    }
  });
  return { ids, positions, rows: Int32Array.from(stretches, ({ row }) => row) };
}

/** Names of the streams of SDA; of one alone, the first. */
export const SDA_STREAMS = ['base', 'instructed'];

/**
 * Checks the prompts of a query against the model.
 *
 * @param names of the streams, for errors
 * @throws SdaError `bad-input` for an empty prompt or an id outside the vocabulary; `context-exceeded` for a
 *   prompt that leaves no room for a new token.
 */
export function checkStreams(
  streams: Streams,
  vocabSize: number,
  maxContext: number,
  names: readonly string[] = SDA_STREAMS,
): void {
  streams.forEach((ids, index) => {
    const stream = names[index];
    if (ids.length === 0) {
      throw new SdaError('bad-input', `The ${stream} prompt has no token: give it at least one.`);
    }
    const bad = ids.findIndex((id) => !Number.isInteger(id) || id < 0 || id >= vocabSize);
    if (bad >= 0) {
      throw new SdaError(
        'bad-input',
        `The ${stream} prompt holds the token id ${ids[bad]}, but this model's ids are 0..${vocabSize - 1}.`,
      );
    }
    if (ids.length >= maxContext) {
      throw new SdaError(
        'context-exceeded',
        `The ${stream} prompt has ${ids.length} tokens, but the context holds ${maxContext} and a new token needs one: shorten the prompt.`,
      );
    }
  });
}
