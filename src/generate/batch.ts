import {
  type DecodeEvent,
  type DecodeTiming,
  decode,
  type FinishReason,
} from '../decode/generate.js';
import { SdaError } from '../errors.js';
import type { Choice } from '../method/rule.js';
import type { DecoderModel } from '../model/decoder.js';
import { allEndings } from '../model/endings.js';
import type { Rule } from '../rules/define.js';
import { sda } from '../rules/sda.js';
import { splitReasoning } from '../text/reasoning.js';
import { AnswerText } from './answer-text.js';
import {
  checkVocabularies,
  modelOf,
  type Prepared,
  prepare,
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
  StepOf,
} from './types.js';

/** See `SdaModel.generateBatch`. */
export async function* generateBatch<R extends Rule = SdaRule>(
  model: SdaModel,
  requests: readonly GenerateRequest<R>[],
  options: BatchOptions = {},
): AsyncGenerator<BatchStep<R>[], GenerateSummary<R>[]> {
  if (requests.length === 0) {
    throw new SdaError('bad-input', 'There is no request in the batch: give at least one.');
  }
  shared(requests, 'rule');
  const rule = ruleOf(requests[0]!);
  const signal = shared(requests, 'signal');
  const prepared = await Promise.all(requests.map((request) => prepare(model, request, options)));
  const tokenizer = await tokenizerFor(model, requests);
  const answers = requests.map(
    (request, index): Answer => ({
      ...prepared[index]!,
      text: new AnswerText(tokenizer, request.stop ?? [], prepared[index]!.query.streams[0]!),
      tokenIds: [],
      finishReason: 'aborted',
      timing: { prefillMs: 0, decodeMs: 0 },
    }),
  );
  const endings = allEndings(model.config, tokenizer).map(({ id }) => id);
  const endIds = requests.map(({ ignoreEos }) => new Set(ignoreEos ? [] : endings));
  const streams = Object.keys(rule.streams).slice(0, answers[0]!.query.streams.length);
  const runs = Object.entries(rule.streams)
    .slice(0, streams.length)
    .map((stream) => modelOf(model, stream, options));
  const events = decode<object, Choice>(
    model.decoder,
    answers.map(({ query }) => query),
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
      finished: (query, { id }) => endIds[query]!.has(id) || answers[query]!.text.push(id),
      signal,
    },
  );
  const summary = (answer: Answer) => summaryOf(answer, rule, model) as GenerateSummary<R>;
  const toStep = ({ query, choice, finishReason, timing }: DecodeEvent<Choice>): BatchStep<R> => {
    const answer = answers[query]!;
    answer.timing = timing;
    const step = answer.tokenIds.push(choice.id) - 1;
    const last = finishReason !== null;
    const { amplification: a } = answer.query.settings as { amplification?: unknown };
    const shown = {
      step,
      ...choice,
      ...(typeof a === 'number' && { a }),
      ...answer.text.take(last),
    };
    if (last) answer.finishReason = finishReason;
    return { query, step: shown as unknown as StepOf<R>, summary: last ? summary(answer) : null };
  };
  for await (const batch of events) yield batch.map(toStep);
  return answers.map(summary);
}

/** One answer while it is being decoded; until it ends by itself, its reason is 'aborted'. */
interface Answer extends Prepared {
  readonly text: AnswerText;
  readonly tokenIds: number[];
  finishReason: FinishReason;
  timing: DecodeTiming;
}

/** The models of streams that another model runs, after a look at their tokens. */
async function otherModels(
  model: SdaModel,
  rule: Rule,
  options: BatchOptions,
): Promise<Record<string, DecoderModel>> {
  const runs = Object.entries(rule.streams)
    .map((stream) => [stream[0], modelOf(model, stream, options)] as const)
    .filter(([, each]) => each !== model);
  await checkVocabularies(model, new Set(runs.map(([, each]) => each)));
  return Object.fromEntries(runs.map(([stream, { decoder }]) => [stream, decoder]));
}

function summaryOf(
  { query, template, text: answerText, tokenIds, finishReason, timing }: Answer,
  rule: Rule,
  model: SdaModel,
): GenerateSummary<Rule> {
  const { streams, settings, seed, maxTokens } = query;
  const text = answerText.all();
  const { thinking, answer, finished } = splitReasoning(text, answerText);
  const { length } = tokenIds;
  const promptTokens = Object.keys(rule.streams).map((name, index) => [
    name,
    (streams[index] ?? streams[0]!).length,
  ]);
  return {
    text,
    thinking,
    answer,
    answerFinished: finished,
    tokenIds,
    finishReason,
    promptTokens: Object.fromEntries(promptTokens) as Record<string, number>,
    settings: {
      ...(rule.name !== sda.name && { rule: rule.name }),
      ...settings,
      seed,
      maxTokens,
      ...template,
    },
    timing: {
      loadMs: model.loadMs,
      ...timing,
      tokensPerSecond: length > 1 ? ((length - 1) / timing.decodeMs) * 1000 : 0,
    },
  };
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
