import { choiceJson, settingsJson } from '../generate/json.js';
import { ownSettings, shownSettings } from '../generate/shown-settings.js';
import type {
  AnsweringModel,
  BatchOptions,
  GenerateRequest,
  GenerateSummary,
  Rule,
  SdaRule,
  StepOf,
} from '../index.js';
import { counted } from './counted.js';

/** A finished answer with each of its steps. */
export interface Answer<R extends Rule = SdaRule> {
  readonly summary: GenerateSummary<R>;
  readonly steps: readonly StepOf<R>[];
}

/** Decodes one answer, handing each step to `onStep` as it comes. */
export async function answer<R extends Rule = SdaRule>(
  model: AnsweringModel,
  request: GenerateRequest<R>,
  onStep: (step: StepOf<R>) => void = () => {},
  options: Pick<BatchOptions, 'models'> = {},
): Promise<Answer<R>> {
  const steps: StepOf<R>[] = [];
  const generator = model.generate(request, options);
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

type Settings = GenerateSummary<Rule>['settings'];

/** The answer as the JSON of `sda generate --json`: a field -Infinity becomes null. */
export function answerJson({ summary, steps }: Answer<Rule>) {
  const { settings, timing } = summary;
  return {
    text: summary.text,
    thinking: summary.thinking,
    answer: summary.answer,
    answer_finished: summary.answerFinished,
    token_ids: summary.tokenIds,
    finish_reason: summary.finishReason,
    prompt_tokens: summary.promptTokens,
    settings: settingsJson(settings),
    steps: steps.map((step) => choiceJson(step)),
    timing: {
      load_ms: timing.loadMs,
      prefill_ms: timing.prefillMs,
      decode_ms: timing.decodeMs,
      tokens_per_second: timing.tokensPerSecond,
    },
  };
}

/** The mean of a number over the steps that have it; null where none has. */
function meanOf(steps: readonly object[], name: string): number | null {
  const values = steps.flatMap((step) => {
    const value = (step as Record<string, unknown>)[name];
    return typeof value === 'number' ? [value] : [];
  });
  return values.length === 0 ? null : values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** Means of JS and T over an answer; 0 where it has no token. */
export function means(steps: readonly StepOf<SdaRule>[]): { js: number; temperature: number } {
  return { js: meanOf(steps, 'js') ?? 0, temperature: meanOf(steps, 'temperature') ?? 0 };
}

const ENDINGS: Record<GenerateSummary['finishReason'], string> = {
  stop: 'ended by itself',
  length: 'cut at --max-tokens',
  context: 'cut at the end of the context',
  aborted: 'stopped',
};

/**
 * One line on how an answer came about.
 *
 * @param amplification where the a of SDA comes from
 */
export function summaryLine({ summary, steps }: Answer<Rule>, amplification: string): string {
  const { settings, timing, finishReason } = summary;
  const { rule, greedy, seed, amplification: a } = settings as Settings & Record<string, never>;
  const own = Object.entries(ownSettings(settings)).filter(([name]) => !ASIDE.has(name));
  const [js, temperature] = [meanOf(steps, 'js') ?? 0, meanOf(steps, 'temperature') ?? 0];
  const has = (name: string) => rule === undefined || steps.some((step) => name in step);
  return [
    counted(steps.length, 'token'),
    `${timing.tokensPerSecond.toFixed(1)} tokens/s`,
    `loaded in ${(timing.loadMs / 1000).toFixed(1)} s`,
    ...(has('js') ? [`mean JS ${js.toFixed(3)}`] : []),
    ...(greedy ? ['greedy'] : has('temperature') ? [`mean T ${temperature.toFixed(2)}`] : []),
    rule === undefined
      ? `a ${Number(Number(a).toPrecision(3))}${amplification}`
      : [rule, shownSettings(Object.fromEntries(own))].filter(Boolean).join(' '),
    `seed ${seed}`,
    ENDINGS[finishReason],
    ...thinkingNotes({ summary, steps }),
  ].join(' | ');
}

/** Of the request, not of its rule. */
const ASIDE: ReadonlySet<string> = new Set([
  'rule',
  'seed',
  'maxTokens',
  'date',
  'templateVariables',
]);

function thinkingNotes({ summary, steps }: Answer<Rule>): string[] {
  const { thinking, answerFinished } = summary;
  if (thinking === '' && answerFinished) return [];
  const answerStart = steps.findIndex(({ parts }) => parts.some(({ part }) => part === 'answer'));
  const count = answerFinished && answerStart >= 0 ? answerStart : steps.length;
  return [
    `${counted(count, 'token')} of thinking`,
    ...(answerFinished ? [] : ['thinking unfinished: there is no answer']),
  ];
}
