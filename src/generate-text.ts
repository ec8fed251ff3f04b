import { type DecodeEvent, decode, type FinishReason, type Query } from './decode/generate.js';
import { StopStrings } from './decode/stop-strings.js';
import { SdaError } from './errors.js';
import type { BatchStep, GenerateRequest, GenerateSummary } from './generate-types.js';
import { resolveSettings, type SdaSettings } from './method/settings.js';
import { sdaRule } from './method/step.js';
import type { SdaModel } from './sda-model.js';
import { INSTRUCTIONS } from './text/instructions.js';
import { buildPrompts } from './text/prompts.js';
import { opensThinking, splitReasoning } from './text/reasoning.js';
import type { StreamDecoder, Tokenizer } from './text/tokenizer.js';

const DEFAULT_MAX_TOKENS = 256;

/** See `SdaModel.generateBatch`. */
export async function* generateBatch(
  model: SdaModel,
  requests: readonly GenerateRequest[],
): AsyncGenerator<BatchStep[], GenerateSummary[]> {
  const settings = sharedSettings(requests);
  const queries = await Promise.all(requests.map((request) => toQuery(model, request)));
  const tokenizer = await tokenizerFor(model, requests);
  const texts = requests.map((request) => new AnswerText(tokenizer, request.stop ?? []));
  const tokens: number[][] = requests.map(() => []);
  const reasons: (FinishReason | null)[] = requests.map(() => null);

  const events = decode(model.decoder, queries, {
    rule: requests[0]?.rule ?? sdaRule(settings),
    stopIds: new Set(requests[0]?.ignoreEos ? [] : model.config.eosTokenIds),
    maxContext: model.maxContext,
    logitBias: tokenizer ? model.logitBias(tokenizer) : undefined,
    finished: (query, { id }) => texts[query]!.push(id),
    signal: requests[0]?.signal,
  });
  const toStep = ({ query, choice, finishReason }: DecodeEvent): BatchStep => {
    reasons[query] = finishReason;
    const step = tokens[query]!.push(choice.id) - 1;
    const a = queries[query]!.amplification;
    return { query, step: { step, ...choice, a, text: texts[query]!.take(finishReason !== null) } };
  };
  for (;;) {
    const { value, done } = await events.next();
    if (!done) {
      yield value.map(toStep);
      continue;
    }
    return requests.map((_, query): GenerateSummary => {
      const { streams, amplification, seed, maxTokens } = queries[query]!;
      const [base, instructed = base] = streams;
      const count = tokens[query]!.length;
      const text = texts[query]!.all();
      return {
        text,
        reasoning: splitReasoning(text, {
          opened: tokenizer !== null && opensThinking(tokenizer.decode(base)),
        }),
        tokenIds: tokens[query]!,
        finishReason: reasons[query] ?? 'aborted',
        promptTokens: { base: base.length, instructed: instructed.length },
        settings: { ...settings, amplification, seed, maxTokens },
        timing: {
          loadMs: model.loadMs,
          ...value,
          tokensPerSecond: count > 1 ? ((count - 1) / value.decodeMs) * 1000 : 0,
        },
      };
    });
  }
}

/** The text of one answer as its tokens come. */
class AnswerText {
  private readonly decoder: StreamDecoder | null;
  private readonly stops: StopStrings;
  private pending = '';
  private shown = '';
  private ended = false;

  constructor(tokenizer: Tokenizer | null, stop: readonly string[]) {
    this.decoder = tokenizer?.streamDecoder({ skipSpecialTokens: true }) ?? null;
    this.stops = new StopStrings(stop);
  }

  /** @returns true when a stop string is complete. */
  push(id: number): boolean {
    const { text, stopped } = this.stops.push(this.decoder?.push(id) ?? '');
    this.pending += text;
    this.ended = stopped;
    return stopped;
  }

  /** The new text since the last call; at the end, also what was held back. */
  take(isLast: boolean): string {
    if (isLast) this.finish();
    const text = this.pending;
    this.pending = '';
    this.shown += text;
    return text;
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

async function toQuery(model: SdaModel, request: GenerateRequest): Promise<Query> {
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
  const { baseIds, instructedIds } = request.prompts ?? (await promptsOf(model, request));
  return {
    streams: request.singleStream ? [baseIds] : [baseIds, instructedIds],
    amplification: resolveSettings(request.settings).amplification,
    seed,
    maxTokens,
  };
}

async function promptsOf(model: SdaModel, request: GenerateRequest) {
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
    date: request.date,
  });
}

/** The tokenizer; null where all prompts are ids and the folder has no tokenizer. */
async function tokenizerFor(
  model: SdaModel,
  requests: readonly GenerateRequest[],
): Promise<Tokenizer | null> {
  try {
    return await model.tokenizer();
  } catch (error) {
    const missing = error instanceof SdaError && error.code === 'file-missing';
    const needed = requests.some(({ prompts, stop }) => !prompts || (stop?.length ?? 0) > 0);
    if (missing && !needed) return null;
    throw error;
  }
}

/** The settings of the first request, after checking that the others agree in all that a batch shares. */
function sharedSettings(requests: readonly GenerateRequest[]): SdaSettings {
  const [first, ...others] = requests.map(({ settings }) => resolveSettings(settings));
  if (!first)
    throw new SdaError('bad-input', 'There is no request in the batch: give at least one.');
  const shared = (settings: SdaSettings) => JSON.stringify({ ...settings, amplification: 0 });
  const different = others.findIndex((settings) => shared(settings) !== shared(first));
  if (different >= 0) {
    throw new SdaError(
      'bad-input',
      `Request ${different + 1} of the batch has other settings than request 0: only amplification, seed and maxTokens may differ.`,
    );
  }
  return first;
}
