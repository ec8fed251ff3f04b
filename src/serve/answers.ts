import { Mailbox } from '../decode/mailbox.js';
import type { GenerateRequest, GenerateSummary, StepOf } from '../generate/types.js';
import type { Rule } from '../rules/define.js';
import type { Service } from './service.js';

/** A token of one of the answers of a request, or its end. */
export type Told =
  | { readonly index: number; readonly step: StepOf<Rule> }
  | { readonly index: number; readonly summary: GenerateSummary<Rule> };

/** A request and the seeds of its answers. */
export interface Part {
  readonly request: GenerateRequest<Rule>;
  readonly seeds: readonly number[];
}

/**
 * Begins the answers of all parts, numbered part by part.
 *
 * @returns what becomes of them, as it comes; where one fails, or the reader leaves, all are given up
 * @throws SdaError before anything is decoded, where a request cannot be or there is no room
 */
export async function beginAnswers(
  { engine, metrics }: Service,
  parts: readonly Part[],
  signal: AbortSignal,
): Promise<AsyncGenerator<Told, void>> {
  const since = performance.now();
  const given = new AbortController();
  const both = AbortSignal.any([signal, given.signal]);
  const generators: AsyncGenerator<StepOf<Rule>, GenerateSummary<Rule>>[] = [];
  try {
    for (const { request, seeds } of parts) {
      generators.push(...(await engine.answers({ ...request, signal: both }, seeds)));
    }
  } catch (error) {
    given.abort();
    throw error;
  }
  const told = new Mailbox<Told>();
  const pumps = generators.map(async (generator, index) => {
    for (;;) {
      const { value, done } = await generator.next();
      if (done) {
        if (!signal.aborted) metrics.answered(promptTokensOf(value), value.tokenIds.length);
        return told.put({ index, summary: value });
      }
      if (value.step === 0) metrics.began(performance.now() - since);
      told.put({ index, step: value });
    }
  });
  Promise.all(pumps).then(
    () => told.end(),
    (error: unknown) => told.fail(error),
  );
  return read(told, () => given.abort());
}

async function* read(told: Mailbox<Told>, leave: () => void): AsyncGenerator<Told, void> {
  try {
    yield* told;
  } finally {
    leave();
  }
}

/** All of it, answer by answer. */
export async function collect(told: AsyncIterable<Told>, answers: number) {
  const steps = Array.from({ length: answers }, (): StepOf<Rule>[] => []);
  const summaries: GenerateSummary<Rule>[] = [];
  for await (const event of told) {
    if ('step' in event) steps[event.index]!.push(event.step);
    else summaries[event.index] = event.summary;
  }
  return { steps, summaries };
}

/** Tokens of the prompt that a client sees as its own: that of the first stream. */
export function promptTokensOf({ promptTokens }: GenerateSummary<Rule>): number {
  return Object.values<number>(promptTokens)[0] ?? 0;
}

/** What all answers took, as OpenAI counts it: a prompt once, however many answers it has. */
export function usageOf(summaries: readonly GenerateSummary<Rule>[], answersOfPrompt: number) {
  const prompt = summaries
    .filter((_, index) => index % answersOfPrompt === 0)
    .reduce((sum, summary) => sum + promptTokensOf(summary), 0);
  const completion = summaries.reduce((sum, { tokenIds }) => sum + tokenIds.length, 0);
  return {
    prompt_tokens: prompt,
    completion_tokens: completion,
    total_tokens: prompt + completion,
  };
}
