import { randomUUID } from 'node:crypto';
import type { GivenLogProbs } from '../decode/given-tokens.js';
import { likeliestFirst, meanOf } from '../generate/best-of.js';
import type { GenerateRequest, GenerateSummary, StepOf } from '../generate/types.js';
import type { Rule } from '../rules/define.js';
import type { Tokenizer } from '../text/tokenizer.js';
import { beginAnswers, collect, type Told, usageOf } from './answers.js';
import { type Asked, askedOf, refused } from './asked.js';
import { finishOf, type Reply } from './chat.js';
import type { CompletionBody } from './schema.js';
import { answerFields, traceOf } from './sda-fields.js';
import type { Service } from './service.js';
import { completionLogProbs, hasText, type MaybeProbs, probsOf } from './token-probs.js';

/** What max_tokens is where a completion does not say, as OpenAI's servers have it. */
const DEFAULT_TOKENS = 16;

/** One prompt, and what is known of it. */
interface Prompt {
  readonly ids: readonly number[];
  readonly text: string;
  /** How likely its own tokens are, where that is to be told */
  readonly given: GivenLogProbs | undefined;
}

/** Completions on their way. */
interface Completing {
  readonly asked: Asked;
  /** Answers of each prompt that are told: all that are made, or the likeliest of them */
  readonly answers: number;
  readonly prompts: readonly Prompt[];
  readonly echo: boolean;
  /** Likeliest tokens beside each; undefined: nothing is told of tokens */
  readonly top: number | undefined;
  readonly tokenizer: Tokenizer;
  readonly head: object;
}

/**
 * Goes on with texts or token ids as they are, without a chat template.
 *
 * @throws ApiError, SdaError before anything is sent
 */
export async function completion(
  service: Service,
  body: CompletionBody,
  signal: AbortSignal,
): Promise<Reply> {
  const { engine, limits } = service;
  const echo = body.echo ?? false;
  const maxTokens = body.max_tokens ?? Math.min(DEFAULT_TOKENS, limits.maxTokens);
  const answers = body.n ?? 1;
  const made = body.best_of ?? answers;
  checkBestOf(made, answers, body);
  const asked = askedOf(service, { ...body, n: made }, { top: body.logprobs ?? 0, maxTokens });
  if (maxTokens === 0 && !echo) {
    throw refused('max_tokens', 'Nothing is asked for: max_tokens is 0, and echo is not true');
  }
  if (asked.field?.evaluator) {
    throw refused(
      'sda.evaluator',
      'A completion has no query that an evaluator could be told: ask for a chat completion',
    );
  }
  const tokenizer = await engine.model.tokenizer();
  const prompts = promptsOf(body.prompt, tokenizer);
  if (prompts.length * asked.seeds.length > limits.answers) {
    throw refused(
      'prompt',
      `${prompts.length} prompts with ${asked.seeds.length} answers each are asked for, but a request has at most ${limits.answers} answers`,
    );
  }
  const wanted = echo && body.logprobs != null;
  const given = await Promise.all(
    prompts.map((ids) => (wanted ? engine.given(ids, { top: body.logprobs!, signal }) : undefined)),
  );
  const completing: Completing = {
    asked,
    answers,
    echo,
    tokenizer,
    top: body.logprobs ?? undefined,
    prompts: prompts.map((ids, index) => ({
      ids,
      text: tokenizer.decode(ids),
      given: given[index],
    })),
    head: {
      id: `cmpl-${randomUUID()}`,
      object: 'text_completion',
      created: Math.floor(Date.now() / 1000),
      model: service.name,
    },
  };
  if (maxTokens === 0) return { body: echoed(completing) };
  const parts = prompts.map((ids) => ({
    request: requestFor(asked, ids, tokenizer),
    seeds: asked.seeds,
  }));
  const told = await beginAnswers(service, parts, signal);
  return asked.stream
    ? { events: chunks(completing, told) }
    : { body: await whole(completing, told) };
}

/** @throws ApiError for fewer answers made than told, or a choice among what has been sent */
function checkBestOf(made: number, answers: number, { stream }: CompletionBody): void {
  if (made < answers) {
    throw refused('best_of', `best_of is ${made}, but must be at least n, which is ${answers}`);
  }
  if (made > answers && stream) {
    throw refused(
      'best_of',
      'The best answers are known when all have ended, and cannot be streamed: leave out stream or best_of',
    );
  }
}

function promptsOf(prompt: CompletionBody['prompt'], tokenizer: Tokenizer): number[][] {
  if (typeof prompt === 'string') return [tokenizer.encode(prompt)];
  if (typeof prompt[0] === 'number') return [prompt as number[]];
  return (prompt as (string | number[])[]).map((each) =>
    typeof each === 'string' ? tokenizer.encode(each) : each,
  );
}

/** The prompt is that of the rule's first stream; those of the others stand in `sda.prompts`. */
function requestFor(
  { request, rule, field }: Asked,
  ids: readonly number[],
  tokenizer: Tokenizer,
): GenerateRequest<Rule> {
  const [first, ...others] = Object.keys(rule.streams);
  const streams: Record<string, { ids: readonly number[] }> = { [first!]: { ids } };
  for (const name of field ? others : []) {
    const prompt = field?.prompts?.[name];
    if (prompt === undefined) {
      throw refused(
        'sda.prompts',
        `The stream ${name} of the rule ${rule.name} has no prompt: give it in sda.prompts, or ask for a chat completion, which makes it`,
      );
    }
    streams[name] = { ids: typeof prompt === 'string' ? tokenizer.encode(prompt) : prompt };
  }
  return { ...request, streams };
}

/** The prompts alone. */
function echoed(completing: Completing): object {
  const { prompts, answers, head } = completing;
  const choices = prompts.flatMap((prompt, index) =>
    Array.from({ length: answers }, (_, answer) => ({
      index: index * answers + answer,
      text: prompt.text,
      logprobs: logprobsOf(completing, prompt, []),
      finish_reason: 'length',
    })),
  );
  const tokens = prompts.reduce((sum, { ids }) => sum + ids.length, 0);
  return {
    ...head,
    choices,
    usage: { prompt_tokens: tokens, completion_tokens: 0, total_tokens: tokens },
  };
}

async function whole(completing: Completing, told: AsyncIterable<Told>): Promise<object> {
  const { asked, head, prompts, echo } = completing;
  const n = asked.seeds.length;
  const { steps, summaries } = await collect(told, n * prompts.length);
  const choices = shownAnswers(completing, steps).map((made, index) => {
    const [prompt, summary] = [prompts[Math.floor(made / n)]!, summaries[made]!];
    return {
      index,
      text: (echo ? prompt.text : '') + summary.text,
      logprobs: logprobsOf(completing, prompt, steps[made]!),
      finish_reason: finishOf(summary),
      ...(asked.field && answerFields(summary, asked.field.trace ? steps[made] : undefined)),
    };
  });
  return { ...head, choices, usage: usageOf(summaries, n) };
}

/** Which answers are told: of each prompt those with the largest mean log-probability, the best first, or simply all. */
function shownAnswers(
  { asked, answers, prompts }: Completing,
  steps: readonly StepOf<Rule>[][],
): number[] {
  const n = asked.seeds.length;
  if (n === answers) return [...steps.keys()];
  const means = steps.map((each) => meanOf(each.map((step) => probsOf(step, !asked.field).logp)));
  return prompts.flatMap((_, prompt) => {
    const first = prompt * n;
    const order = likeliestFirst(means.slice(first, first + n));
    return order.slice(0, answers).map((index) => first + index);
  });
}

async function* chunks(
  completing: Completing,
  told: AsyncIterable<Told>,
): AsyncGenerator<object, void> {
  const { asked, head, prompts, echo, top } = completing;
  const n = asked.seeds.length;
  const chunk = (choice: object) => ({
    ...head,
    choices: [choice],
    ...(asked.usageInStream && { usage: null }),
  });
  const offsets = prompts.flatMap(({ text }) => asked.seeds.map(() => (echo ? text.length : 0)));
  for (const [index] of echo ? offsets.entries() : []) {
    const prompt = prompts[Math.floor(index / n)]!;
    const logprobs = logprobsOf(completing, prompt, []);
    yield chunk({ index, text: prompt.text, logprobs, finish_reason: null });
  }
  const summaries: GenerateSummary<Rule>[] = [];
  for await (const event of told) {
    const { index } = event;
    if ('summary' in event) {
      summaries[index] = event.summary;
      const last = { index, text: '', logprobs: null, finish_reason: finishOf(event.summary) };
      yield chunk({ ...last, ...(asked.field && answerFields(event.summary)) });
      continue;
    }
    const { step } = event;
    const trace = asked.field?.trace ? { sda: traceOf(step) } : {};
    const logprobs = top === undefined ? null : answerLogprobs(completing, [step], offsets[index]!);
    if (step.text === '' && logprobs === null && !asked.field?.trace) continue;
    yield chunk({ index, text: step.text, logprobs, finish_reason: null, ...trace });
    offsets[index]! += step.text.length;
  }
  if (asked.usageInStream) yield { ...head, choices: [], usage: usageOf(summaries, n) };
}

/** Of the prompt's own tokens, where it is echoed, and those of the answer. */
function logprobsOf(completing: Completing, prompt: Prompt, steps: readonly StepOf<Rule>[]) {
  const { top, tokenizer, echo } = completing;
  if (top === undefined) return null;
  if (!echo) return answerLogprobs(completing, steps, 0);
  const { logps, top: likeliest } = prompt.given!;
  const own = prompt.ids.map(
    (id, at): MaybeProbs => ({ id, logp: logps[at]!, top: likeliest[at]! }),
  );
  return completionLogProbs([...own, ...shownProbs(completing, steps)], tokenizer, {
    offset: 0,
    top,
  });
}

function answerLogprobs(completing: Completing, steps: readonly StepOf<Rule>[], offset: number) {
  const { tokenizer, top = 0 } = completing;
  return completionLogProbs(shownProbs(completing, steps), tokenizer, { offset, top });
}

/** With the token that ends a text, though it is none of it: harnesses count on one token for each that was drawn. */
function shownProbs(
  { asked, tokenizer }: Completing,
  steps: readonly StepOf<Rule>[],
): MaybeProbs[] {
  const isPlain = !asked.field;
  return steps.map((step) => ({
    ...probsOf(step, isPlain),
    silent: !hasText(step.id, tokenizer),
  }));
}
