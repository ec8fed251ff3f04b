import { randomUUID } from 'node:crypto';
import { onAbort } from '../../abort.js';
import { SdaError } from '../../errors.js';
import type { BlendPlan } from '../../method/blend.js';
import { BrokenStream, clause } from '../failure.js';
import { Patience } from '../patience.js';
import type { CompletionChunk, EngineServer } from '../server.js';
import { argumentOf } from './argument.js';
import { countOf, lineOf, logprobsFor, type Told, toldOf } from './carried.js';

/** One query as a group of completions, one for each of its streams. */
export interface GroupAsk {
  /** The server's name for it */
  readonly model: string;
  /** Prompts of the streams, each of at least 2 tokens where there are several */
  readonly streams: readonly (readonly number[])[];
  readonly plan: BlendPlan;
  /** As many as there are tokens at most */
  readonly uniforms: readonly number[];
  readonly maxTokens: number;
  /** Ids that end the text, for the server to stop by itself */
  readonly endIds: readonly number[];
  readonly absent: readonly (readonly [number, number])[];
}

/** What is done where a group breaks. */
export interface Resuming {
  readonly signal?: AbortSignal | undefined;
  /** Milliseconds without a new token, after an error that may pass, before the answer is given up */
  readonly patienceMs: number;
  /** Asks the server again what it is; throws where it is not there, or is another */
  readonly reopen: (signal?: AbortSignal) => Promise<void>;
}

/** Attempts in a row without a token and without an error */
const MOST_FRUITLESS = 20;

/**
 * The tokens of a group: what all its streams have told, in the form of the kernel `sample`. Where streams break, or are
 * out of step, the query goes on from what all of them have, so that no token is lost, doubled or of one stream alone.
 *
 * @throws SdaError; nothing after an abort by the signal: then it just ends
 */
export async function* groupTokens(
  server: EngineServer,
  ask: GroupAsk,
  { signal, patienceMs, reopen }: Resuming,
): AsyncGenerator<Float32Array, void> {
  const drawn: number[] = [];
  const patience = new Patience(patienceMs);
  for (let fruitless = 0; drawn.length < ask.maxTokens; ) {
    const before = drawn.length;
    let broken = false;
    try {
      for await (const line of attempt(server, ask, drawn, signal)) {
        drawn.push(line[0]!);
        patience.relieve();
        yield line;
      }
    } catch (error) {
      if (signal?.aborted) return;
      if (!patience.bears(error)) throw server.explain(error);
      broken = true;
    }
    if (signal?.aborted) return;
    fruitless = drawn.length > before ? 0 : fruitless + 1;
    if (fruitless > MOST_FRUITLESS && !broken) {
      throw new SdaError(
        'runtime',
        `The server at ${server.endpoint} has not run the ${ask.streams.length} streams of an answer together in ${MOST_FRUITLESS} attempts: send all requests of an answer to one server, without a balancer in between, and look at its log.`,
      );
    }
    if (fruitless > 0) await patience.wait(signal);
    if (patience.tried && !signal?.aborted) await back(server, patience, { signal, reopen });
  }
}

/** Waits until the server is back, for as long as patience lasts. */
async function back(
  server: EngineServer,
  patience: Patience,
  { signal, reopen }: Pick<Resuming, 'signal' | 'reopen'>,
): Promise<void> {
  for (;;) {
    try {
      await reopen(signal);
      return;
    } catch (error) {
      if (signal?.aborted) return;
      const cause = (error as SdaError).cause ?? error;
      if (!patience.bears(cause)) throw server.explain(error);
    }
    await patience.wait(signal);
  }
}

/** The tokens of all streams from `drawn` on, until one of them ends or breaks. */
async function* attempt(
  server: EngineServer,
  ask: GroupAsk,
  drawn: readonly number[],
  signal?: AbortSignal,
): AsyncGenerator<Float32Array, void> {
  const controller = new AbortController();
  const leave = onAbort(signal, () => controller.abort());
  const count = countOf(ask.streams.length, ask.plan);
  const streams = bodiesOf(ask, drawn).map((body) =>
    tokensOf(server.stream(body, controller.signal), count, server.endpoint),
  );
  try {
    for (;;) {
      const told = await Promise.all(streams.map(async (stream) => (await stream.next()).value));
      const tokens = told.filter((each): each is Told => each !== undefined && 'id' in each);
      if (tokens.some(({ kind }) => kind === 'foreign')) throw withoutPlugin(server.endpoint);
      if (tokens.length < told.length) return;
      const same = tokens.every(({ id, kind }) => kind === 'drawn' && id === tokens[0]!.id);
      if (!same) return;
      yield lineOf(tokens, ask.plan);
    }
  } catch (error) {
    if (error instanceof Ended) return;
    throw error;
  } finally {
    leave();
    controller.abort();
    for (const stream of streams) stream.return().catch(() => {}); // what is under way ends by the abort
  }
}

/** Thrown by the first stream that ends: the others may wait for it. */
class Ended extends Error {}

/** What one stream tells, token by token. */
async function* tokensOf(
  chunks: AsyncIterable<CompletionChunk>,
  count: number,
  endpoint: string,
): AsyncGenerator<Told, void> {
  for await (const { token_ids: ids, logprobs, finish_reason, stop_reason } of chunks) {
    for (const [index, id] of (ids ?? []).entries()) {
      yield toldOf(id, logprobs?.top_logprobs?.[index] ?? {}, count);
    }
    if (finish_reason === 'abort') throw refusal(stop_reason, endpoint);
    if (finish_reason) throw new Ended();
  }
  throw new BrokenStream(`The server at ${endpoint} closed an answer before its end`);
}

/** Why the scheduler has ended a request: NO_ROOM and the problems of groups.py. */
function refusal(reason: string | number | null | undefined, endpoint: string): Error {
  const why = typeof reason === 'string' ? clause(reason.replace(/^sda: /, '')) : '';
  if (why.includes('KV cache')) {
    return new SdaError('out-of-memory', `The server at ${endpoint} ended an answer: ${why}.`);
  }
  const ofGroup = /another stream|did not come/.test(why) || why === '';
  const sentence = `The server at ${endpoint} ended an answer${why === '' ? '' : `: ${why}`}`;
  return ofGroup ? new BrokenStream(sentence) : new SdaError('bad-input', `${sentence}.`);
}

function withoutPlugin(endpoint: string): SdaError {
  return new SdaError(
    'unsupported',
    `The server at ${endpoint} answered without a step of sda-vllm: all requests must reach one vLLM that is started with it, see docs/vllm.md.`,
  );
}

function bodiesOf(ask: GroupAsk, drawn: readonly number[]): object[] {
  const { model, streams, plan, uniforms, maxTokens, endIds, absent } = ask;
  const lone = endIds[0] ?? 0;
  const group = {
    group: randomUUID(),
    streams: streams.length,
    plan,
    uniforms: uniforms.slice(drawn.length),
    absent,
    lone,
  };
  return streams.map((prompt, stream) => ({
    model,
    prompt: [...prompt, ...drawn],
    max_tokens: maxTokens - drawn.length,
    temperature: 0,
    ignore_eos: true,
    stop_token_ids: [...new Set([...endIds, lone])],
    logprobs: logprobsFor(countOf(streams.length, plan)),
    return_token_ids: true,
    return_tokens_as_token_ids: true,
    vllm_xargs: { sda: argumentOf(group, stream) },
  }));
}
