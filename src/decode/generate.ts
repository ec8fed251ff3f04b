import type { Tensor1D } from '@tensorflow/tfjs-core';
import { uniformFloat32 } from 'pure-rand/distribution/uniformFloat32';
import { mersenne } from 'pure-rand/generator/mersenne';
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
  /** Called with each token; true ends the query after it (stop strings). */
  readonly finished?: (query: number, choice: TokenChoice) => boolean;
  readonly signal?: AbortSignal | undefined;
}

export type FinishReason = 'stop' | 'length' | 'context' | 'aborted';

/** A token drawn for one query, or the end of its text. */
export interface DecodeEvent {
  /** Index of the query in the batch */
  readonly query: number;
  readonly choice: TokenChoice;
  /** Why the text ends here; null while it goes on. With 'stop' on a stop id, the token is not part of the text. */
  readonly finishReason: FinishReason | null;
}

/** Milliseconds since the call, and when the prompts were done. */
export interface DecodeTiming {
  readonly prefillMs: number;
  readonly decodeMs: number;
}

/**
 * THE LOOP: one forward for all streams of all queries, one SDA step, one token a query, appended to both of
 * its streams. Yields the tokens of each step. All queries have one stream, or all have two.
 *
 * @returns timing; queries that were running when `signal` fired just end. Everything on the device is
 *   disposed at the end, after an error and after an early `return()`.
 * @throws SdaError `bad-input`, `context-exceeded` (see `checkStreams`), `bad-logits` naming step, stream and token.
 */
export async function* decode(
  model: DecoderModel,
  queries: readonly Query[],
  options: DecodeOptions,
): AsyncGenerator<DecodeEvent[], DecodeTiming> {
  const streams = streamsPerQuery(queries);
  for (const query of queries) {
    checkStreams(query.streams, model.config.vocabSize, options.maxContext);
  }
  // Mersenne's seeding mixes the seed: small seeds give unrelated first numbers
  const random = queries.map(({ seed }) => mersenne(seed));
  const longest = Math.max(...queries.map(maxLength));
  const room = Math.min(longest + Math.max(...queries.map((q) => q.maxTokens)), options.maxContext);
  const cache = new KvCache(
    model.config,
    streams * queries.length,
    Math.min(room, longest + 256),
    room,
  );
  const { logitBias } = options;
  const breathe = async () => {
    await new Promise((resolve) => setImmediate(resolve)); // lets signals and timers run between forwards
    if (options.signal?.aborted) throw new Stopped();
  };

  const start = performance.now();
  let prefillMs = 0;
  let logits: ReturnType<typeof forward> = null;
  try {
    let active = queries.map((_, index) => index);
    const lengths = queries.map(({ streams: ids }) => ids.map((prompt) => prompt!.length));
    const drawn: number[][] = queries.map(() => []);
    logits = await prefill(
      model,
      queries.map((q) => q.streams),
      cache,
      {
        logitBias,
        beforeForward: breathe,
      },
    );

    for (let step = 0; ; step++) {
      const draws = {
        amplifications: active.map((query) => queries[query]!.amplification),
        uniforms: active.map((query) => uniformFloat32(random[query]!)),
      };
      const choices = await choose(options.rule, logits!, draws, step, () => {
        const texts = active.flatMap((query) =>
          queries[query]!.streams.map((prompt) => [...prompt!, ...drawn[query]!]),
        );
        return whereNotFinite(model, texts);
      });
      logits!.dispose();
      logits = null;
      if (step === 0) prefillMs = performance.now() - start;

      const events = choices.map((choice, line): DecodeEvent => {
        const query = active[line]!;
        const used = Math.max(...lengths[query]!) + step + 1; // positions taken once the token is appended
        const over = options.stopIds.has(choice.id) || (options.finished?.(query, choice) ?? false);
        const last = step + 1 >= queries[query]!.maxTokens;
        const full = used >= options.maxContext;
        const finishReason = over ? 'stop' : last ? 'length' : full ? 'context' : null;
        return { query, choice, finishReason };
      });
      yield events;
      const going = events.filter(({ finishReason }) => finishReason === null);
      if (going.length === 0) break;
      active = going.map(({ query }) => query);
      for (const { query, choice } of going) drawn[query]!.push(choice.id);

      await breathe();
      // both streams of a query take the same token, each at its own next position
      const lines = going.flatMap(({ query, choice }) =>
        lengths[query]!.map((length, stream) => ({
          id: choice.id,
          position: length + step,
          row: streams * query + stream,
        })),
      );
      const batch = {
        ids: Int32Array.from(lines, ({ id }) => id),
        positions: Int32Array.from(lines, ({ position }) => position),
        rows: Int32Array.from(lines, ({ row }) => row),
      };
      logits = forward(model, batch, cache, { logits: 'last', logitBias });
    }
  } catch (error) {
    if (!(error instanceof Stopped)) throw error;
  } finally {
    logits?.dispose();
    cache.dispose();
  }
  return { prefillMs, decodeMs: performance.now() - start - prefillMs };
}

/** Thrown inside the loop when the caller's signal fires. */
class Stopped extends Error {}

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

function maxLength({ streams }: Query): number {
  return Math.max(...streams.map((ids) => ids!.length));
}

/** Runs the step rule; its error on unusable logits also says at which step and, by `where`, from which layer on. */
async function choose(
  rule: StepRule,
  logits: NonNullable<ReturnType<typeof forward>>,
  draws: Parameters<StepRule>[1],
  step: number,
  where: () => string,
): Promise<TokenChoice[]> {
  try {
    return await rule(logits, draws);
  } catch (error) {
    if (!(error instanceof SdaError) || error.code !== 'bad-logits') throw error;
    const message = error.message.replace(/\.$/, '');
    throw new SdaError(error.code, `At step ${step}, ${message}; ${where()}.`, { cause: error });
  }
}
