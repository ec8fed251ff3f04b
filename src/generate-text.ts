import { existsSync } from 'node:fs';
import { join } from 'node:path';
import {
  type DecodeEvent,
  type DecodeTiming,
  decode,
  type FinishReason,
  type Query,
} from './decode/generate.js';
import { StopStrings } from './decode/stop-strings.js';
import { SdaError } from './errors.js';
import type {
  BatchOptions,
  BatchStep,
  GenerateRequest,
  GenerateSummary,
} from './generate-types.js';
import { resolveSettings, type SdaSettings } from './method/settings.js';
import { sdaRule } from './method/step.js';
import { allEndings } from './model/endings.js';
import type { SdaModel } from './sda-model.js';
import { INSTRUCTIONS } from './text/instructions.js';
import { buildPrompts } from './text/prompts.js';
import { opensThinking, ReasoningStream, splitReasoning, type TextPart } from './text/reasoning.js';
import { strftime } from './text/strftime.js';
import type { StreamDecoder, Tokenizer } from './text/tokenizer.js';

const DEFAULT_MAX_TOKENS = 256;

type PromptIds = NonNullable<GenerateRequest['prompts']>;

/** See `SdaModel.generateBatch`. */
export async function* generateBatch(
  model: SdaModel,
  requests: readonly GenerateRequest[],
  options: BatchOptions = {},
): AsyncGenerator<BatchStep[], GenerateSummary[]> {
  const settings = sharedSettings(requests);
  const rule = shared(requests, 'rule') ?? sdaRule(settings);
  const signal = shared(requests, 'signal');
  const prepared = await Promise.all(requests.map((request) => prepare(model, request)));
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
  const queries = answers.map(({ query }) => query);
  const { maxContext } = model;
  const events = decode(model.decoder, queries, {
    rule,
    stopIds: new Set(), // which ids end a text, its request says
    maxContext,
    maxBatch: options.maxBatch,
    admit: (shape) => model.checkMemory(shape),
    logitBias: tokenizer ? model.logitBias(tokenizer) : undefined,
    finished: (query, { id }) => endIds[query]!.has(id) || answers[query]!.text.push(id),
    signal,
  });
  const toStep = ({ query, choice, finishReason, timing }: DecodeEvent): BatchStep => {
    const answer = answers[query]!;
    answer.timing = timing;
    const step = answer.tokenIds.push(choice.id) - 1;
    const a = answer.query.settings.amplification;
    const last = finishReason !== null;
    const shown = { step, ...choice, a, ...answer.text.take(last) };
    if (last) answer.finishReason = finishReason;
    return { query, step: shown, summary: last ? summaryOf(answer, settings, model) : null };
  };
  for await (const batch of events) yield batch.map(toStep);
  return answers.map((answer) => summaryOf(answer, settings, model));
}

/** One answer while it is being decoded; until it ends by itself, its reason is 'aborted'. */
interface Answer extends Prepared {
  readonly text: AnswerText;
  readonly tokenIds: number[];
  finishReason: FinishReason;
  timing: DecodeTiming;
}

function summaryOf(
  { query, template, text: answerText, tokenIds, finishReason, timing }: Answer,
  settings: SdaSettings,
  model: SdaModel,
): GenerateSummary {
  const { streams, settings, seed, maxTokens } = query;
  const [base = [], instructed = base] = streams;
  const text = answerText.all();
  const { thinking, answer, finished } = splitReasoning(text, answerText);
  const { length } = tokenIds;
  return {
    text,
    thinking,
    answer,
    answerFinished: finished,
    tokenIds,
    finishReason,
    promptTokens: { base: base.length, instructed: instructed.length },
    settings: { ...settings, seed, maxTokens, ...template },
    timing: {
      loadMs: model.loadMs,
      ...timing,
      tokensPerSecond: length > 1 ? ((length - 1) / timing.decodeMs) * 1000 : 0,
    },
  };
}

/** The text of one answer as its tokens come. */
class AnswerText {
  private readonly decoder: StreamDecoder | null;
  private readonly stops: StopStrings;
  private readonly parts: ReasoningStream;
  private pending = '';
  private shown = '';
  private ended = false;

  /** Whether the prompt opens the thinking */
  readonly opened: boolean;

  constructor(tokenizer: Tokenizer | null, stop: readonly string[], prompt: readonly number[]) {
    this.opened = tokenizer !== null && opensThinking(tokenizer.decode(prompt));
    this.decoder = tokenizer?.streamDecoder({ skipSpecialTokens: true }) ?? null;
    this.stops = new StopStrings(stop);
    this.parts = new ReasoningStream(this);
  }

  /** @returns true when a stop string is complete. */
  push(id: number): boolean {
    const { text, stopped } = this.stops.push(this.decoder?.push(id) ?? '');
    this.pending += text;
    this.ended = stopped;
    return stopped;
  }

  /** The new text since the last call; at the end, also what was held back. */
  take(isLast: boolean): { text: string; parts: TextPart[] } {
    if (isLast) this.finish();
    const text = this.pending;
    this.pending = '';
    this.shown += text;
    const parts = this.parts.push(text);
    return { text, parts: isLast ? [...parts, ...this.parts.flush()] : parts };
  }

  /** The whole text, with what an aborted answer still held back. */
  all(): string {
    this.finish();
    return this.shown + this.pending;
  }

  private finish(): void {
    if (this.ended) return;
    this.ended = true;
    const { text, stopped } = this.stops.push(this.decoder?.flush() ?? '');
    this.pending += stopped ? text : text + this.stops.flush();
  }
}

interface Prepared {
  readonly query: Query;
  /** What a chat template made the prompts with, beside the texts. */
  readonly template: Pick<GenerateSummary['settings'], 'date' | 'templateVariables'>;
}

async function prepare(model: SdaModel, request: GenerateRequest): Promise<Prepared> {
  const { seed = 0, maxTokens = DEFAULT_MAX_TOKENS } = request;
  if (!Number.isSafeInteger(seed)) {
    throw new SdaError('bad-input', `seed must be a whole number, but is ${seed}.`);
  }
  if (!Number.isInteger(maxTokens) || maxTokens < 1) {
    throw new SdaError(
      'bad-input',
      `maxTokens must be a whole number of at least 1, but is ${maxTokens}.`,
    );
  }
  const settings = resolveSettings(request.settings);
  const toQuery = ({ baseIds, instructedIds }: PromptIds): Query => ({
    streams: request.singleStream ? [baseIds] : [baseIds, instructedIds],
    settings,
    seed,
    maxTokens,
  });
  if (request.prompts) return { query: toQuery(request.prompts), template: {} };
  const { date = new Date() } = request;
  return {
    query: toQuery(await promptsOf(model, request, date)),
    template: templateSettings(request, (await model.chatTemplate())?.dated === true, date),
  };
}

/** The settings that say how to get the same prompts again. */
export function templateSettings(
  { templateVariables }: GenerateRequest,
  dated: boolean,
  date: Date,
): Prepared['template'] {
  return {
    ...(dated && { date: strftime(date, '%Y-%m-%d') }),
    ...(templateVariables && { templateVariables }),
  };
}

async function promptsOf(model: SdaModel, request: GenerateRequest, date: Date) {
  if (request.query === undefined) {
    throw new SdaError(
      'bad-input',
      'There is nothing to answer: give a query, or both prompts as token ids.',
    );
  }
  if (request.instruction !== undefined && request.core !== undefined) {
    throw new SdaError('bad-input', 'Give an instruction or a core, not both.');
  }
  return buildPrompts({
    tokenizer: await model.tokenizer(),
    template: await model.chatTemplate(),
    query: request.query,
    instruction: request.instruction ?? INSTRUCTIONS[request.core ?? 'helpfulness'],
    placement: request.placement ?? 'after-query',
    system: request.system,
    foldSystem: request.foldSystem,
    date,
    templateVariables: request.templateVariables,
  });
}

/** The tokenizer; null where all prompts are ids and the folder has no tokenizer.json. */
async function tokenizerFor(
  model: SdaModel,
  requests: readonly GenerateRequest[],
): Promise<Tokenizer | null> {
  try {
    return await model.tokenizer();
  } catch (error) {
    const missing = error instanceof SdaError && !existsSync(join(model.dir, 'tokenizer.json'));
    const needed = requests.some(({ prompts, stop }) => !prompts || (stop?.length ?? 0) > 0);
    if (missing && !needed) return null;
    throw error;
  }
}

/**
 * What a field is in all requests of a batch: one step draws for all of them, and one signal ends them.
 *
 * @throws SdaError `bad-input` where they differ
 */
function shared<K extends 'rule' | 'signal'>(
  requests: readonly GenerateRequest[],
  field: K,
): GenerateRequest[K] {
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

/** The settings of the first request, after checking that the others agree in all that a batch shares. */
function sharedSettings(requests: readonly GenerateRequest[]): SdaSettings {
  const [first, ...others] = requests.map(({ settings }) => resolveSettings(settings));
  if (!first)
    throw new SdaError('bad-input', 'There is no request in the batch: give at least one.');
  const common = (settings: SdaSettings) => JSON.stringify({ ...settings, amplification: 0 });
  const different = others.findIndex((settings) => common(settings) !== common(first));
  if (different >= 0) {
    throw new SdaError(
      'bad-input',
      `Request ${different + 1} of the batch has other settings than request 0: of the settings only amplification may differ.`,
    );
  }
  return first;
}
