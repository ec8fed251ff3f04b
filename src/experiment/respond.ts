import { SdaError } from '../errors.js';
import type { AnsweringModel } from '../generate/answering.js';
import type { SdaModel } from '../generate/sda-model.js';
import type { GenerateRequest, GenerateStep, GenerateSummary } from '../generate/types.js';
import type { Choice } from '../method/rule.js';
import type { Mode } from '../method/settings.js';
import type { Rule } from '../rules/define.js';
import { buildPrompts } from '../text/prompts.js';
import { alignerRequest } from './aligner.js';
import { type ExperimentConfig, itemSeed } from './config.js';
import { isSteered } from './method-rules.js';
import { ruleOf } from './methods.js';
import { promptOptions, tooLong } from './prompt-options.js';
import type { Item, Method, Response, Row, RowFailure, Score } from './rows.js';
import { ruleRequest, ruleSettings } from './rule-request.js';
import { shownName } from './rules.js';
import { doneRow, failedRow } from './stages.js';
import { traceOf } from './traces.js';

/** What the responses of a method are made from. */
export interface RespondInput {
  readonly method: Method;
  readonly config: ExperimentConfig;
  /** Those that have no response yet */
  readonly items: readonly Item[];
  /** The base model; for `aligner` the aligner */
  readonly model: AnsweringModel;
  /** Those that run streams of a rule, by its names for them */
  readonly models?: Readonly<Record<string, SdaModel>> | undefined;
  /** Rows of the stages before, by item; `base` itself needs none */
  readonly base?: ReadonlyMap<string, Row<Response>> | undefined;
  readonly scores?: ReadonlyMap<string, Row<Score>> | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Called with each row as it comes */
  readonly onRow: (row: Row<Response>) => void;
  /** Called after each decoding step with the number of tokens drawn in it */
  readonly onTokens?: ((count: number) => void) | undefined;
}

/**
 * Decodes the responses of one method, as one batch whose places are filled again as answers end. An item that cannot
 * be answered becomes a failed row. After an abort, items that were under way have no row.
 */
export async function respond(input: RespondInput): Promise<void> {
  const { items, method, model, models, config, signal, onRow, onTokens } = input;
  const asked: { item: Item; a: number | null }[] = [];
  const requests: GenerateRequest<Rule>[] = [];
  for (const item of items) {
    const made = await requestFor(item, input);
    if ('kind' in made) {
      onRow(failedRow(item.id, made));
      continue;
    }
    asked.push({ item, a: made.a });
    requests.push({ ...made.request, signal });
  }
  if (requests.length === 0) return;

  const entry = ruleOf(config, method);
  const steps: GenerateStep<Choice>[][] = requests.map(() => []);
  const { engine } = config;
  const elsewhere = method !== 'aligner' && engine !== undefined && engine.kind !== 'local';
  const maxBatch = elsewhere ? engine.concurrency : config.batch;
  for await (const batch of model.generateBatch(requests, { maxBatch, models })) {
    onTokens?.(batch.length);
    for (const { query, step, summary } of batch) {
      steps[query]!.push(step);
      if (!summary) continue;
      const { item, a } = asked[query]!;
      const trace = config.trace ? traceOf(steps[query]!) : null;
      steps[query] = [];
      onRow(rowOf(item, a, summary, trace, entry && shownName(entry)));
    }
  }
}

/** The request of one item, or why there is none. */
async function requestFor(
  item: Item,
  input: RespondInput,
): Promise<{ request: GenerateRequest<Rule>; a: number | null } | RowFailure> {
  const { method, config, model, models = {}, base, scores } = input;
  const { decoding, aligner } = config;
  const entry = ruleOf(config, method);
  const steered = isSteered(method, entry);
  const settings = {
    k: decoding.k,
    t0: decoding.t0,
    sigma: decoding.sigma,
    tMin: decoding.t_min,
    topP: decoding.top_p,
    topK: decoding.top_k,
    minP: decoding.min_p,
    greedy: decoding.greedy,
    // a bound on steering, set by P2: it is not to reach into what the model says by itself
    plausibility: steered ? decoding.plausibility : 0,
  };
  const seed = itemSeed(config.seed, item.id);
  try {
    if (method === 'aligner') {
      const answer = base?.get(item.id);
      if (answer?.status !== 'done') return noBase(answer);
      const { prompt, max_tokens: maxTokens } = aligner!;
      const correction = {
        query: item.query,
        answer: answer.value.answer,
        maxTokens,
        seed,
        prompt,
      };
      return { request: await alignerRequest(model, { ...correction, settings }), a: null };
    }
    let a: number | null = null;
    if (steered) {
      const score = scores?.get(item.id);
      if (score?.status !== 'done') {
        const why = score?.failure.reason ?? 'It was not scored.';
        return { kind: 'no-score', reason: `The base response has no score: ${why}` };
      }
      a = score.value.a;
    }
    if (entry) {
      const made = await ruleRequest(item, entry, { config, model, models, a });
      return 'kind' in made ? made : { request: made, a };
    }
    const { baseIds, instructedIds } = await promptsOf(item, model, config);
    const long = tooLong([baseIds, instructedIds], model.maxContext);
    if (long) return long;
    const request: GenerateRequest<Rule> = {
      prompts: { baseIds, instructedIds },
      settings: { ...settings, mode: method as Mode, amplification: a ?? 0 },
      maxTokens: decoding.max_tokens,
      seed,
      stop: decoding.stop,
      singleStream: method === 'base' && !config.trace,
    };
    return { request, a };
  } catch (error) {
    if (!(error instanceof SdaError) || !OF_ONE_ITEM.has(error.code)) throw error;
    return { kind: 'bad-prompt', reason: error.message };
  }
}

/** Errors that say something of one item; any other would meet the next one as well. */
const OF_ONE_ITEM = new Set(['bad-input', 'context-exceeded', 'bad-tokenizer']);

async function promptsOf({ query }: Item, model: AnsweringModel, config: ExperimentConfig) {
  const tokenizer = await model.tokenizer();
  const template = await model.chatTemplate();
  return buildPrompts({ ...promptOptions(config), tokenizer, template, query });
}

function noBase(row: Row<Response> | undefined): RowFailure {
  const why = row?.status === 'failed' ? row.failure.reason : 'It was not decoded.';
  return { kind: 'no-answer', reason: `There is no base response: ${why}` };
}

function rowOf(
  item: Item,
  a: number | null,
  summary: GenerateSummary<Rule>,
  trace: Response['trace'],
  rule: string | undefined,
): Row<Response> {
  const { text, thinking, answer, answerFinished, finishReason, promptTokens } = summary;
  if (!answerFinished) {
    const reason = `The thinking was not finished within ${summary.tokenIds.length} tokens: there is no answer.`;
    return failedRow(item.id, { kind: 'unfinished-thinking', reason });
  }
  return doneRow(item.id, {
    text,
    thinking,
    answer,
    finishReason,
    tokens: summary.tokenIds.length,
    promptTokens,
    seed: summary.settings.seed,
    a,
    trace,
    ...(rule !== undefined && { rule, settings: ruleSettings(summary.settings) }),
  });
}
