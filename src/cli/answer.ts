import type { GenerateRequest, GenerateStep, GenerateSummary, SdaModel } from '../index.js';

/** A finished answer with each of its steps. */
export interface Answer {
  readonly summary: GenerateSummary;
  readonly steps: readonly GenerateStep[];
}

/** Decodes one answer, handing each step to `onStep` as it comes. */
export async function answer(
  model: SdaModel,
  request: GenerateRequest,
  onStep: (step: GenerateStep) => void = () => {},
): Promise<Answer> {
  const steps: GenerateStep[] = [];
  const generator = model.generate(request);
  try {
    for (;;) {
      const { value, done } = await generator.next();
      if (done) return { summary: value, steps };
      steps.push(value);
      onStep(value);
    }
  } finally {
    await generator.return(undefined as never); // where `onStep` throws: frees what the answer took
  }
}

/** The same query answered by the model alone, as if there were no instruction. */
export function asBase(request: GenerateRequest): GenerateRequest {
  return { ...request, settings: { ...request.settings, mode: 'base' }, singleStream: true };
}

/** The answer as the JSON of `sda generate --json`: a field -Infinity becomes null. */
export function answerJson({ summary, steps }: Answer) {
  const { settings, timing, promptTokens } = summary;
  return {
    text: summary.text,
    thinking: summary.thinking,
    answer: summary.answer,
    answer_finished: summary.answerFinished,
    token_ids: summary.tokenIds,
    finish_reason: summary.finishReason,
    prompt_tokens: { base: promptTokens.base, instructed: promptTokens.instructed },
    settings: settingsJson(settings),
    steps: steps.map(({ id, js, temperature, logpBase, logpInstructed, logp }) => ({
      id,
      js,
      temperature,
      logp_base: logpBase,
      logp_instructed: logpInstructed,
      logp,
    })),
    timing: {
      load_ms: timing.loadMs,
      prefill_ms: timing.prefillMs,
      decode_ms: timing.decodeMs,
      tokens_per_second: timing.tokensPerSecond,
    },
  };
}

export function settingsJson(settings: GenerateSummary['settings']) {
  const { maxTokens, tMin, topP, topK, minP, templateVariables, ...rest } = settings;
  return {
    ...rest,
    t_min: tMin,
    top_p: topP,
    top_k: topK,
    min_p: minP,
    max_tokens: maxTokens,
    ...(templateVariables && { template_variables: templateVariables }),
  };
}

/** Means of JS and T over an answer; 0 where it has no token. */
export function means(steps: readonly GenerateStep[]): { js: number; temperature: number } {
  const mean = (pick: (step: GenerateStep) => number) =>
    steps.reduce((sum, step) => sum + pick(step), 0) / Math.max(1, steps.length);
  return { js: mean(({ js }) => js), temperature: mean(({ temperature }) => temperature) };
}

const ENDINGS: Record<GenerateSummary['finishReason'], string> = {
  stop: 'ended by itself',
  length: 'cut at --max-tokens',
  context: 'cut at the end of the context',
  aborted: 'stopped',
};

/** One line on how an answer came about. */
export function summaryLine({ summary, steps }: Answer, amplification: string): string {
  const { settings, timing, finishReason } = summary;
  const { js, temperature } = means(steps);
  return [
    `${steps.length} ${steps.length === 1 ? 'token' : 'tokens'}`,
    `${timing.tokensPerSecond.toFixed(1)} tokens/s`,
    `loaded in ${(timing.loadMs / 1000).toFixed(1)} s`,
    `mean JS ${js.toFixed(3)}`,
    settings.greedy ? 'greedy' : `mean T ${temperature.toFixed(2)}`,
    `a ${Number(settings.amplification.toPrecision(3))}${amplification}`,
    `seed ${settings.seed}`,
    ENDINGS[finishReason],
    ...thinkingNotes({ summary, steps }),
  ].join(' | ');
}

function thinkingNotes({ summary, steps }: Answer): string[] {
  const { thinking, answerFinished } = summary;
  if (thinking === '' && answerFinished) return [];
  const answerStart = steps.findIndex(({ parts }) => parts.some(({ part }) => part === 'answer'));
  const count = answerFinished && answerStart >= 0 ? answerStart : steps.length;
  return [
    `${count} ${count === 1 ? 'token' : 'tokens'} of thinking`,
    ...(answerFinished ? [] : ['thinking unfinished: there is no answer']),
  ];
}
