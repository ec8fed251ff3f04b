import { concat2d, slice, type Tensor1D, type Tensor2D } from '@tensorflow/tfjs-core';
import { uniformFloat32 } from 'pure-rand/distribution/uniformFloat32';
import { mersenne } from 'pure-rand/generator/mersenne';
import type { RandomGenerator } from 'pure-rand/types/RandomGenerator';
import { SdaError } from '../errors.js';
import type { StepRule, TokenChoice } from '../method/step.js';
import { type DecoderModel, forward } from '../model/decoder.js';
import { KvCache } from '../model/kv-cache.js';
import { whereNotFinite } from './diagnose.js';
import { checkStreams, prefill, type Streams } from './streams.js';

/** One query of a batch. */
export interface Query {
  readonly streams: Streams;
  /** a (eq 3) */
  readonly amplification: number;
  /** Fixes the query's text, whatever else is in the batch; its low 32 bits count. */
  readonly seed: number;
  readonly maxTokens: number;
}

export interface DecodeOptions {
  /** How logits become tokens: `sdaRule(settings)`, or a rule of your own. */
  readonly rule: StepRule;
  /** Ids that end a text; not part of it. */
  readonly stopIds: ReadonlySet<number>;
  /** Positions a stream may hold, prompt and answer together. */
  readonly maxContext: number;
  /** float32 [V] added to the logits, -Infinity for ids that no token has. */
  readonly logitBias?: Tensor1D | undefined;
  /** Queries that run at once; the others wait until one of them ends and take its place. Default: all */
  readonly maxBatch?: number | undefined;
  /** Called with each token; true ends the query after it (stop strings). */
  readonly finished?: (query: number, choice: TokenChoice) => boolean;
  readonly signal?: AbortSignal | undefined;
}

export type FinishReason = 'stop' | 'length' | 'context' | 'aborted';

/** A token drawn for one query, or the end of its text. */
export interface DecodeEvent {
  /** Index of the query */
  readonly query: number;
  readonly choice: TokenChoice;
  /** Why the text ends here; null while it goes on. With 'stop' on a stop id, the token is not part of the text. */
  readonly finishReason: FinishReason | null;
  /** Of this query so far */
  readonly timing: DecodeTiming;
}

/** Milliseconds: from a query's turn to its first token, and from there to its newest. */
export interface DecodeTiming {
  readonly prefillMs: number;
  readonly decodeMs: number;
}

/** A query that has a place in the batch. */
interface Running {
  readonly index: number;
  readonly query: Query;
  /** Its first row of the cache */
  readonly row: number;
  readonly random: RandomGenerator;
  /** Of its prompts, in tokens */
  readonly lengths: readonly number[];
  readonly drawn: number[];
  readonly begun: number;
  firstTokenAt: number;
}

/**
 * THE LOOP: one forward for all streams of all running queries, one SDA step, one token a query, appended to both of
 * its streams. Yields the tokens of each step. All queries have one stream, or all have two. Where a query ends, the
 * next waiting one takes its rows.
 *
 * On the CPU the logits of a query are the same to the bit whatever runs beside it, and so is its text; on a GPU they
 * are the same up to rounding.
 *
 * Queries that were running when `signal` fired just end. Everything on the device is disposed at the end, after an
 * error and after an early `return()`.
 *
 * @throws SdaError `bad-input`, `context-exceeded` (see `checkStreams`), `bad-logits` naming step, stream and token.
 */
export async function* decode(
  model: DecoderModel,
  queries: readonly Query[],
  options: DecodeOptions,
): AsyncGenerator<DecodeEvent[], void> {
  const streams = streamsPerQuery(queries);
  for (const query of queries) {
    checkStreams(query.streams, model.config.vocabSize, options.maxContext);
  }
  const places = placesFor(queries, options.maxBatch);
  const cache = cacheFor(model, queries, streams * places, options.maxContext);
  const { logitBias } = options;
  const breathe = async () => {
    await new Promise((resolve) => setImmediate(resolve)); // lets signals and timers run between forwards
    if (options.signal?.aborted) throw new Stopped();
  };

  const waiting = [...queries.entries()].reverse();
  const freeRows = Array.from({ length: places }, (_, place) => streams * place).reverse();
  let running: Running[] = [];
  let parts: Tensor2D[] = []; // logits [streams * queries, V] of those that go on, then of each new one
  try {
    for (;;) {
      if (running.length > 0) {
        await breathe();
        parts.push(forwardAll(model, running, cache, logitBias));
      }
      while (freeRows.length > 0 && waiting.length > 0) {
        const [index, query] = waiting.pop()!;
        const begun = performance.now();
        const row = freeRows.pop()!;
        const prefillOptions = { row, logitBias, beforeForward: breathe };
        parts.push(await prefill(model, query.streams, cache, prefillOptions));
        // Mersenne's seeding mixes the seed: small seeds give unrelated first numbers
        const random = mersenne(query.seed);
        const lengths = query.streams.map((ids) => ids!.length);
        running.push({ index, query, row, random, lengths, drawn: [], begun, firstTokenAt: 0 });
      }
      if (running.length === 0) return;
      if (parts.length > 1) {
        const joined = concat2d(parts, 0);
        for (const part of parts) part.dispose();
        parts = [joined];
      }
      const choices = await choose(options.rule, parts[0]!, running, model);
      parts.pop()!.dispose();

      const events = running.map((each, line) => take(each, choices[line]!, options));
      yield events;
      const over = (_: Running, line: number) => events[line]!.finishReason !== null;
      freeRows.push(...running.filter(over).map(({ row }) => row));
      running = running.filter((each, line) => !over(each, line));
    }
  } catch (error) {
    if (!(error instanceof Stopped)) throw error;
  } finally {
    for (const part of parts) part.dispose();
    cache.dispose();
  }
}

/** Thrown inside the loop when the caller's signal fires. */
class Stopped extends Error {}

/** Adds a drawn token to its query. */
function take(each: Running, choice: TokenChoice, options: DecodeOptions): DecodeEvent {
  const { index, query, lengths, drawn, begun } = each;
  drawn.push(choice.id);
  const now = performance.now();
  if (drawn.length === 1) each.firstTokenAt = now;
  const timing = { prefillMs: each.firstTokenAt - begun, decodeMs: now - each.firstTokenAt };
  const over = options.stopIds.has(choice.id) || (options.finished?.(index, choice) ?? false);
  const last = drawn.length >= query.maxTokens;
  const full = Math.max(...lengths) + drawn.length >= options.maxContext;
  const finishReason = over ? 'stop' : last ? 'length' : full ? 'context' : null;
  return { query: index, choice, finishReason, timing };
}

/**
 * From this many rows on the linear layers sum in another order (`kManyRows` of kernels/linear/dot.h): a batch that
 * was to be so large stays so to its end, filled up with padding, so that its last queries have the same logits.
 */
const MANY_ROWS = 12;

/** One forward of the newest token of each running query, in all its streams: float32 [streams * queries, V]. */
function forwardAll(
  model: DecoderModel,
  running: readonly Running[],
  cache: KvCache,
  logitBias: Tensor1D | undefined,
): Tensor2D {
  // both streams of a query take the same token, each at its own next position
  const lines = running.flatMap(({ lengths, drawn, row }) =>
    lengths.map((length, stream) => ({
      id: drawn.at(-1)!,
      position: length + drawn.length - 1,
      row: row + stream,
    })),
  );
  const count = lines.length;
  const padded = cache.rows >= MANY_ROWS ? Math.max(count, MANY_ROWS) : count;
  const taken = new Set(lines.map(({ row }) => row));
  for (let row = 0; lines.length < padded; row++) {
    if (!taken.has(row)) lines.push({ id: 0, position: -1, row });
  }
  const batch = {
    ids: Int32Array.from(lines, ({ id }) => id),
    positions: Int32Array.from(lines, ({ position }) => position),
    rows: Int32Array.from(lines, ({ row }) => row),
  };
  const logits = forward(model, batch, cache, { logits: 'last', logitBias })!;
  if (padded === count) return logits;
  const kept = slice(logits, [0, 0], [count, -1]);
  logits.dispose();
  return kept;
}

function placesFor(queries: readonly Query[], maxBatch = queries.length): number {
  if (Number.isInteger(maxBatch) && maxBatch >= 1) return Math.min(maxBatch, queries.length);
  throw new SdaError(
    'bad-input',
    `maxBatch must be a whole number of at least 1, but is ${maxBatch}.`,
  );
}

function cacheFor(
  { config }: DecoderModel,
  queries: readonly Query[],
  rows: number,
  maxContext: number,
): KvCache {
  const lengths = queries.map(({ streams }) => Math.max(...streams.map((ids) => ids!.length)));
  const ends = queries.map(({ maxTokens }, query) => lengths[query]! + maxTokens);
  const room = Math.min(Math.max(...ends), maxContext);
  return new KvCache(config, rows, Math.min(room, Math.max(...lengths) + 256), room);
}

function streamsPerQuery(queries: readonly Query[]): number {
  const counts = new Set(queries.map(({ streams }) => streams.filter(Boolean).length));
  if (counts.size === 1) return [...counts][0]!;
  throw new SdaError(
    'bad-input',
    queries.length === 0
      ? 'There is no query to decode: give at least one.'
      : 'A batch must have one prompt for every query or two for every query, not a mixture.',
  );
}

/** Runs the step rule; its error on unusable logits also says at which step and from which layer on. */
async function choose(
  rule: StepRule,
  logits: Tensor2D,
  running: readonly Running[],
  model: DecoderModel,
): Promise<TokenChoice[]> {
  try {
    return await rule(logits, {
      amplifications: running.map(({ query }) => query.amplification),
      uniforms: running.map(({ random }) => uniformFloat32(random)),
      queries: running.map(({ index }) => index),
    });
  } catch (error) {
    if (!(error instanceof SdaError) || error.code !== 'bad-logits') throw error;
    const texts = running.flatMap(({ query, drawn }) =>
      query.streams.map((prompt) => [...prompt!, ...drawn]),
    );
    const steps = [...new Set(running.map(({ drawn }) => drawn.length))];
    const step = steps.length === 1 ? `step ${steps[0]}` : `steps ${steps.join(', ')}`;
    const message = error.message.replace(/\.$/, '');
    throw new SdaError(error.code, `At ${step}, ${message}; ${whereNotFinite(model, texts)}.`, {
      cause: error,
    });
  }
}
