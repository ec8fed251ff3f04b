import { type DecodeEvent, decode } from '../decode/generate.js';
import { SdaError } from '../errors.js';
import type { Choice } from '../method/rule.js';
import type { DecoderModel } from '../model/decoder.js';
import type { Rule } from '../rules/define.js';
import { sda } from '../rules/sda.js';
import { Answer } from './answer.js';
import {
  checkVocabularies,
  modelsOf,
  prepare,
  refuseEmpty,
  ruleOf,
  tokenizerFor,
} from './request.js';
import type { SdaModel } from './sda-model.js';
import type {
  BatchOptions,
  BatchStep,
  GenerateRequest,
  GenerateSummary,
  SdaRule,
} from './types.js';

/** See `SdaModel.generateBatch`. */
export async function* generateBatch<R extends Rule = SdaRule>(
  model: SdaModel,
  requests: readonly GenerateRequest<R>[],
  options: BatchOptions = {},
): AsyncGenerator<BatchStep<R>[], GenerateSummary<R>[]> {
  refuseEmpty(requests);
  shared(requests, 'rule');
  const rule = ruleOf(requests[0]!);
  const signal = shared(requests, 'signal');
  const prepared = await Promise.all(requests.map((request) => prepare(model, request, options)));
  const tokenizer = await tokenizerFor(model, requests);
  const answers = requests.map(
    (request, index) => new Answer({ ...prepared[index]!, model, rule, request, tokenizer }),
  );
  const streams = Object.keys(rule.streams).slice(0, prepared[0]!.query.streams.length);
  const runs = modelsOf(model, rule, options, streams.length);
  const events = decode<object, Choice>(
    model.decoder,
    prepared.map(({ query }) => query),
    {
      rule: rule.step,
      streams: rule.name === sda.name ? undefined : streams,
      models: await otherModels(model, rule, options),
      stopIds: new Set(), // which ids end a text, its request says
      maxContext: Math.min(...[model, ...runs].map(({ maxContext }) => maxContext)),
      maxBatch: options.maxBatch,
      admit: (shape) => {
        for (const each of new Set(runs)) {
          each.checkMemory({ ...shape, streams: runs.filter((one) => one === each).length });
        }
      },
      logitBias: tokenizer ? model.logitBias(tokenizer) : undefined,
      finished: (query, choice) => answers[query]!.endsWith(choice),
      signal,
    },
  );
  const toStep = (event: DecodeEvent<Choice>): BatchStep<R> => {
    const answer = answers[event.query]!;
    const step = answer.take<R>(event);
    return {
      query: event.query,
      step,
      summary: event.finishReason === null ? null : answer.summary(),
    };
  };
  for await (const batch of events) yield batch.map(toStep);
  return answers.map((answer) => answer.summary());
}

/** The models of streams that another model runs, after a look at their tokens. */
export async function otherModels(
  model: SdaModel,
  rule: Rule,
  options: BatchOptions,
): Promise<Record<string, DecoderModel>> {
  const names = Object.keys(rule.streams);
  const others = modelsOf(model, rule, options)
    .map((runs, index) => [names[index]!, runs] as const)
    .filter(([, runs]) => runs !== model);
  await checkVocabularies(model, new Set(others.map(([, runs]) => runs)));
  return Object.fromEntries(others.map(([stream, { decoder }]) => [stream, decoder]));
}

/**
 * What a field is in all requests of a batch: one step draws for all of them, and one signal ends them.
 *
 * @throws SdaError `bad-input` where they differ
 */
function shared<R extends Rule, K extends 'rule' | 'signal'>(
  requests: readonly GenerateRequest<R>[],
  field: K,
): GenerateRequest<R>[K] {
  const value = requests[0]?.[field];
  const different = requests.findIndex((request) => request[field] !== value);
  if (different >= 0) {
    throw new SdaError(
      'bad-input',
      `Request ${different} of the batch has another ${field} than request 0: give all requests of a batch the same one, or none.`,
    );
  }
  return value;
}
