import { concat2d, type Tensor1D, type Tensor2D } from '@tensorflow/tfjs-core';
import { uniformFloat32 } from 'pure-rand/distribution/uniformFloat32';
import { SdaError } from '../errors.js';
import { DrawnStep } from '../method/drawn-step.js';
import type { Choice, StepRule } from '../method/rule.js';
import type { SdaSettings } from '../method/settings.js';
import type { TokenChoice } from '../method/step.js';
import type { DecoderModel } from '../model/decoder.js';
import { onGpu } from '../runtime/backend.js';
import { type BatchShape, checkBatch } from './checks.js';
import { whereNotFinite } from './diagnose.js';
import { joinModels, ModelRows } from './model-rows.js';
import { limitOf, type Query, type Running, start } from './running.js';
import { SDA_STREAMS } from './streams.js';
import { Taps } from './taps.js';

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
  /** float32 [V] added to the logits of the first model, -Infinity for ids that no token has. */
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

export type FinishReason = 'stop' | 'length' | 'context' | 'aborted';

/** A token drawn for one query, or the end of its text. */
export interface DecodeEvent<C extends Choice = TokenChoice> {
  /** Index of the query */
  readonly query: number;
  readonly choice: C;
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

/**
 * THE LOOP: one forward of each model for all its streams of all running queries, one step of the rule, one token a
 * query, appended to all of its streams. Yields the tokens of each step. All queries have the same streams. Where a
 * query ends, the next waiting one takes its place.
 *
 * On the CPU the logits of a query are the same to the bit whatever runs beside it, and so is its text; on a GPU they
 * are the same up to rounding.
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
  const { rule } = options;
  const names = options.streams ?? SDA_STREAMS.slice(0, queries[0]?.streams.length);
  const modelOf = (name: string) => options.models?.[name] ?? model;
  const vocabSize = Math.min(...names.map((name) => modelOf(name).config.vocabSize));
  const shape = checkBatch(queries, { ...options, vocabSize });
  for (const [query, { settings, streams }] of queries.entries()) {
    rule.check?.(query, settings, { count: streams.length, names: options.streams });
  }
  const biasOf = (each: DecoderModel) => (each === model ? options.logitBias : undefined);
  const taps = new Taps(rule, queries, { names, modelOf, vocabSize, biasOf });
  options.admit?.(shape);
  const { places, room, longest } = shape;
  const breathe = async () => {
    await new Promise((resolve) => setImmediate(resolve)); // lets signals and timers run between forwards
    if (options.signal?.aborted) throw new Stopped();
  };

  const readBehind = options.readBehind ?? onGpu();
  const waiting = [...queries.entries()].reverse();
  const freePlaces = Array.from({ length: places }, (_, place) => place).reverse();
  let running: Running[] = []; // those that take part in the next step
  const begun = new Set<number>(); // those whose state a rule keeps
  const release = (ended: (each: Running) => boolean) => {
    freePlaces.push(...running.filter(ended).map(({ place }) => place));
    running = running.filter((each) => !ended(each));
  };
  const end = (query: number) => {
    if (begun.delete(query)) rule.end?.(query);
  };
  const models: ModelRows[] = [];
  let parts: Tensor2D[] = []; // logits [streams * queries, V] (and taps) of those that go on, then of each new one
  const unread: DrawnStep<Running, C>[] = [];
  /** The tokens of all steps but the newest `kept()` ones. */
  const settle = function* (kept: () => number) {
    while (unread.length > 0 && unread.length > kept()) {
      const events = read(unread[0]!, options, explained);
      unread.shift()!.dispose();
      release(({ over }) => over);
      for (const { query, finishReason } of events) if (finishReason !== null) end(query);
      if (events.length > 0) yield events;
    }
  };
  const explained = (error: unknown, some: readonly Running[]) => withPlace(error, some, models);
  try {
    const size = { places, capacity: Math.min(room, longest + 256), most: room };
    for (const each of new Set(names.map(modelOf))) {
      const own = [...names.keys()].filter((stream) => modelOf(names[stream]!) === each);
      models.push(new ModelRows(each, own, size, biasOf(each), taps.layersOf(each)));
    }
    for (;;) {
      if (running.length > 0) {
        await breathe();
        parts.push(await ofAll(models, (rows) => rows.forward(running, unread.at(-1))));
      }
      while (freePlaces.length > 0 && waiting.length > 0) {
        const [index, query] = waiting.pop()!;
        const place = freePlaces.pop()!;
        const since = performance.now();
        const { streams } = query;
        parts.push(await ofAll(models, (rows) => rows.prefill(streams, place, breathe)));
        running.push(start(index, query, place, since));
        rule.begin?.(index, query.settings);
        begun.add(index);
      }
      if (running.length === 0) return;
      if (parts.length > 1) {
        const joined = concat2d(parts, 0);
        for (const part of parts) part.dispose();
        parts = [joined];
      }
      try {
        unread.push(await draw(rule, parts[0]!, running, taps));
      } catch (error) {
        yield* settle(() => 0); // the step before is sound, and may end all that this one was drawn for
        if (running.length > 0) throw explained(error, running);
      }
      parts.pop()!.dispose();
      for (const each of running) each.steps++;
      release((each) => limitOf(each, each.steps, options.maxContext) !== null);

      // asked again after each step: the one just read may have ended all that went on
      yield* settle(() => (readBehind && running.length > 0 && unread.at(-1)!.lines ? 1 : 0));
    }
  } catch (error) {
    if (!(error instanceof Stopped)) throw error;
  } finally {
    for (const part of parts) part.dispose();
    for (const step of unread) step.dispose();
    for (const rows of models) rows.dispose();
    for (const query of [...begun]) end(query);
  }
}

/** Logits of all models in turn, as those of one. */
async function ofAll(
  models: readonly ModelRows[],
  run: (rows: ModelRows) => Promise<Tensor2D>,
): Promise<Tensor2D> {
  const parts: Tensor2D[] = [];
  try {
    for (const rows of models) parts.push(await run(rows));
  } catch (error) {
    for (const part of parts) part.dispose();
    throw error;
  }
  return joinModels(parts, models);
}

/** Thrown inside the loop when the caller's signal fires. */
class Stopped extends Error {}

/** The tokens of a step, each added to its query. */
function read<S, C extends Choice>(
  step: DrawnStep<Running, C>,
  options: DecodeOptions<S, C>,
  explained: (error: unknown, running: readonly Running[]) => unknown,
): DecodeEvent<C>[] {
  const alive = [...step.running.entries()].filter(([, { over }]) => !over);
  let choices: C[];
  try {
    choices = alive.map(([line]) => step.choice(line));
  } catch (error) {
    const running = alive.map(([, each]) => each);
    throw explained(error, running);
  }
  return alive.map(([, each], i) => take(each, choices[i]!, options));
}

/** Adds a drawn token to its query. */
function take<S, C extends Choice>(
  each: Running,
  choice: C,
  options: DecodeOptions<S, C>,
): DecodeEvent<C> {
  const { index, drawn, begun } = each;
  drawn.push(choice.id);
  const now = performance.now();
  if (drawn.length === 1) each.firstTokenAt = now;
  const timing = { prefillMs: each.firstTokenAt - begun, decodeMs: now - each.firstTokenAt };
  const stops = options.stopIds.has(choice.id) || (options.finished?.(index, choice) ?? false);
  const finishReason = stops ? 'stop' : limitOf(each, drawn.length, options.maxContext);
  each.over = finishReason !== null;
  return { query: index, choice, finishReason, timing };
}

/** Runs the step rule. */
async function draw<S, C extends Choice>(
  rule: StepRule<S, C>,
  lines: Tensor2D,
  running: readonly Running[],
  taps: Taps,
): Promise<DrawnStep<Running, C>> {
  const queries = running.map(({ index }) => index);
  const { logits, tapped, dispose } = taps.open(lines, queries);
  try {
    const drawn = await rule(logits, {
      settings: running.map(({ query }) => query.settings as S),
      uniforms: running.map(({ random }) => uniformFloat32(random)),
      queries,
      ...(tapped && { tapped }),
    });
    return new DrawnStep(running, drawn);
  } finally {
    dispose();
  }
}

/** An error of unusable logits that also says at which step and from which layer on; any other as it is. */
function withPlace(
  error: unknown,
  running: readonly Running[],
  models: readonly ModelRows[],
): unknown {
  if (!(error instanceof SdaError) || error.code !== 'bad-logits') return error;
  const steps = [...new Set(running.map(({ drawn }) => drawn.length))];
  const step = steps.length === 1 ? `step ${steps[0]}` : `steps ${steps.join(', ')}`;
  const message = error.message.replace(/\.$/, '');
  const layers = models.map(({ model, streams }) =>
    whereNotFinite(
      model,
      running.flatMap(({ query, drawn }) =>
        streams.map((stream) => [...query.streams[stream]!, ...drawn]),
      ),
    ),
  );
  return new SdaError(error.code, `At ${step}, ${message}; ${layers.join('; ')}.`, {
    cause: error,
  });
}
