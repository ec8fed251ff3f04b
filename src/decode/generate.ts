import { concat2d, type Tensor1D, type Tensor2D } from '@tensorflow/tfjs-core';
import { uniformFloat32 } from 'pure-rand/distribution/uniformFloat32';
import { SdaError } from '../errors.js';
import { DrawnStep } from '../method/drawn-step.js';
import type { StepRule, TokenChoice } from '../method/step.js';
import type { DecoderModel } from '../model/decoder.js';
import { KvCache } from '../model/kv-cache.js';
import { onGpu } from '../runtime/backend.js';
import { type BatchShape, checkBatch } from './checks.js';
import { whereNotFinite } from './diagnose.js';
import { forwardAll, limitOf, type Query, type Running, start } from './running.js';
import { prefill } from './streams.js';

export type { Query } from './running.js';

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
  /** Called with the shape of the batch before anything is run; may refuse it by throwing. */
  readonly admit?: (shape: BatchShape) => void;
  /**
   * Begin the next step before the tokens of this one are read, which fill it from the device: the device does not wait
   * for the host. A text is the same either way; the step after a stop is computed in vain. Default: on a GPU
   */
  readonly readBehind?: boolean | undefined;
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
 * @throws SdaError before the first token `bad-input` and `context-exceeded` (see `checkBatch`); `bad-logits` naming
 *   step, stream and token.
 */
export async function* decode(
  model: DecoderModel,
  queries: readonly Query[],
  options: DecodeOptions,
): AsyncGenerator<DecodeEvent[], void> {
  const { vocabSize } = model.config;
  const shape = checkBatch(queries, { ...options, vocabSize });
  options.admit?.(shape);
  const { streams, places, room, longest } = shape;
  const cache = new KvCache(model.config, streams * places, Math.min(room, longest + 256), room);
  const { logitBias } = options;
  const breathe = async () => {
    await new Promise((resolve) => setImmediate(resolve)); // lets signals and timers run between forwards
    if (options.signal?.aborted) throw new Stopped();
  };

  const readBehind = options.readBehind ?? onGpu();
  const waiting = [...queries.entries()].reverse();
  const freeRows = Array.from({ length: places }, (_, place) => streams * place).reverse();
  let running: Running[] = []; // those that take part in the next step
  const release = (ended: (each: Running) => boolean) => {
    freeRows.push(...running.filter(ended).map(({ row }) => row));
    running = running.filter((each) => !ended(each));
  };
  let parts: Tensor2D[] = []; // logits [streams * queries, V] of those that go on, then of each new one
  const unread: DrawnStep<Running>[] = [];
  /** The tokens of all steps but the newest `kept()` ones. */
  const settle = function* (kept: () => number) {
    while (unread.length > 0 && unread.length > kept()) {
      const events = read(unread[0]!, options, model);
      unread.shift()!.dispose();
      if (events.length > 0) yield events;
      release(({ over }) => over);
    }
  };
  try {
    for (;;) {
      if (running.length > 0) {
        await breathe();
        parts.push(forwardAll(model, running, unread.at(-1), cache, logitBias));
      }
      while (freeRows.length > 0 && waiting.length > 0) {
        const [index, query] = waiting.pop()!;
        const begun = performance.now();
        const row = freeRows.pop()!;
        const prefillOptions = { row, logitBias, beforeForward: breathe };
        parts.push(await prefill(model, query.streams, cache, prefillOptions));
        running.push(start(index, query, row, begun));
      }
      if (running.length === 0) return;
      if (parts.length > 1) {
        const joined = concat2d(parts, 0);
        for (const part of parts) part.dispose();
        parts = [joined];
      }
      try {
        unread.push(await draw(options.rule, parts[0]!, running));
      } catch (error) {
        yield* settle(() => 0); // the step before is sound, and may end all that this one was drawn for
        if (running.length > 0) throw explained(error, running, model);
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
    cache.dispose();
  }
}

/** Thrown inside the loop when the caller's signal fires. */
class Stopped extends Error {}

/** The tokens of a step, each added to its query. */
function read(
  step: DrawnStep<Running>,
  options: DecodeOptions,
  model: DecoderModel,
): DecodeEvent[] {
  const alive = [...step.running.entries()].filter(([, { over }]) => !over);
  let choices: TokenChoice[];
  try {
    choices = alive.map(([line]) => step.choice(line));
  } catch (error) {
    const running = alive.map(([, each]) => each);
    throw explained(error, running, model);
  }
  return alive.map(([, each], i) => take(each, choices[i]!, options));
}

/** Adds a drawn token to its query. */
function take(each: Running, choice: TokenChoice, options: DecodeOptions): DecodeEvent {
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
async function draw(
  rule: StepRule,
  logits: Tensor2D,
  running: readonly Running[],
): Promise<DrawnStep<Running>> {
  const drawn = await rule(logits, {
    amplifications: running.map(({ query }) => query.amplification),
    uniforms: running.map(({ random }) => uniformFloat32(random)),
    queries: running.map(({ index }) => index),
  });
  return new DrawnStep(running, drawn);
}

/** An error of unusable logits that also says at which step and from which layer on; any other as it is. */
function explained(error: unknown, running: readonly Running[], model: DecoderModel): unknown {
  if (!(error instanceof SdaError) || error.code !== 'bad-logits') return error;
  const texts = running.flatMap(({ query, drawn }) =>
    query.streams.map((prompt) => [...prompt!, ...drawn]),
  );
  const steps = [...new Set(running.map(({ drawn }) => drawn.length))];
  const step = steps.length === 1 ? `step ${steps[0]}` : `steps ${steps.join(', ')}`;
  const message = error.message.replace(/\.$/, '');
  return new SdaError(error.code, `At ${step}, ${message}; ${whereNotFinite(model, texts)}.`, {
    cause: error,
  });
}
