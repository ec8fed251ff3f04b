import type { Tensor1D } from '@tensorflow/tfjs-core';
import type { Choice, StepRule } from '../method/rule.js';
import type { SdaSettings } from '../method/settings.js';
import type { TokenChoice } from '../method/step.js';
import type { DecoderModel } from '../model/decoder.js';
import { type BatchShape, checkBatch } from './checks.js';
import { Engine, type EngineOptions } from './engine.js';
import type { DecodeEvent } from './event.js';
import type { Decoding, Query } from './running.js';
import { SDA_STREAMS } from './streams.js';

export type { DecodeEvent, DecodeTiming, FinishReason } from './event.js';
export type { Query } from './running.js';

export interface DecodeOptions<S = Partial<SdaSettings>, C extends Choice = TokenChoice> {
  /** How logits become tokens: `sdaRule(settings)`, one of the catalogue, or a rule of your own. */
  readonly rule: StepRule<S, C>;
  /** Names of the streams of every query; default: base and instructed, or the base alone */
  readonly streams?: readonly string[] | undefined;
  /**
   * Streams that other models run, by name. Their tokens must be those of the first model, id by id; where a vocabulary
   * is wider, what is beyond the narrowest is impossible.
   */
  readonly models?: Readonly<Record<string, DecoderModel>> | undefined;
  /** Ids that end a text; not part of it. */
  readonly stopIds: ReadonlySet<number>;
  /** Positions a stream may hold, prompt and answer together. */
  readonly maxContext: number;
  /** float32 [V], added to the logits of the first model, -Infinity for ids that no token has. */
  readonly logitBias?: Tensor1D | undefined;
  /** Queries that run at once; the others wait until one of them ends and take its place. Default: all */
  readonly maxBatch?: number | undefined;
  /** Called with the shape of the batch before anything is run; may refuse it by throwing. */
  readonly admit?: (shape: BatchShape) => void;
  /**
   * Begin the next step before the tokens of this one are read, which fill it from the device: the device does not wait
   * for the host. A text is the same either way; the step after a stop is computed in vain. Default: on a GPU
   */
  readonly readBehind?: boolean | undefined;
  /** Called with each token; true ends the query after it (stop strings). */
  readonly finished?: (query: number, choice: C) => boolean;
  readonly signal?: AbortSignal | undefined;
}

/**
 * THE LOOP over a list of queries: one forward of each model for all its streams of all running queries, one step of the
 * rule, one token a query, appended to all of its streams. Yields the tokens of each step. All queries have the same
 * streams. Where a query ends, the next waiting one takes its place. See `Engine`, whose turns these are.
 *
 * Queries that were running when `signal` fired just end. Everything on the device is disposed at the end, after an
 * error and after an early `return()`.
 *
 * @throws SdaError before the first token `bad-input` and `context-exceeded` (see `checkBatch`), and what the rule has
 *   against a query's settings; `bad-logits` naming step, stream and token.
 */
export async function* decode<S = Partial<SdaSettings>, C extends Choice = TokenChoice>(
  model: DecoderModel,
  queries: readonly Query<S>[],
  options: DecodeOptions<S, C>,
): AsyncGenerator<DecodeEvent<C>[], void> {
  const { rule, stopIds, maxContext, finished, signal } = options;
  const names = options.streams ?? SDA_STREAMS.slice(0, queries[0]?.streams.length);
  const models = names.map((name) => options.models?.[name] ?? model);
  const vocabSize = Math.min(...models.map(({ config }) => config.vocabSize));
  const shape = checkBatch(queries, { ...options, vocabSize });
  for (const [query, { settings, streams }] of queries.entries()) {
    rule.check?.(query, settings, { count: streams.length, names: options.streams });
  }
  options.admit?.(shape);
  const breathe = async () => {
    await new Promise((resolve) => setImmediate(resolve)); // lets signals and timers run between forwards
    if (signal?.aborted) throw new Stopped();
  };
  const engine = new Engine({
    models: roomOf(shape, models, (each) => (each === model ? options.logitBias : undefined)),
    places: shape.places,
    readBehind: options.readBehind,
    breathe,
  });
  try {
    const how = { rule, models, names, stopIds, maxContext, finished };
    const decoding = how as unknown as Decoding;
    for (const [index, query] of queries.entries()) engine.add({ index, query, decoding });
    while (engine.busy) {
      for (const outcomes of await engine.turn()) {
        const events = outcomes.filter((outcome) => !('error' in outcome));
        if (events.length > 0) yield events as DecodeEvent<C>[];
        for (const outcome of outcomes) if ('error' in outcome) throw outcome.error;
      }
    }
  } catch (error) {
    if (!(error instanceof Stopped)) throw error;
  } finally {
    engine.dispose();
  }
}

/** Room for a batch in the cache of each model. */
function roomOf(
  { places, room, longest }: BatchShape,
  models: readonly DecoderModel[],
  biasOf: (model: DecoderModel) => Tensor1D | undefined,
): EngineOptions['models'] {
  const size = { capacity: Math.min(room, longest + 256), most: room };
  const own = (model: DecoderModel) => models.filter((each) => each === model).length;
  return new Map(
    models.map((model) => {
      const rows = places * own(model);
      return [model, { ...size, rows, logitBias: biasOf(model) }];
    }),
  );
}

/** Thrown inside the loop when the caller's signal fires. */
class Stopped extends Error {}
