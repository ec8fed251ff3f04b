import { randomUUID } from 'node:crypto';
import { conversationOf } from '../generate/request.js';
import type { GenerateSummary, StepOf } from '../generate/types.js';
import type { Rule } from '../rules/define.js';
import type { ChatMessage } from '../text/chat-template.js';
import type { Tokenizer } from '../text/tokenizer.js';
import { beginAnswers, collect, type Told, usageOf } from './answers.js';
import { type Asked, askedOf, refused } from './asked.js';
import type { ChatBody } from './schema.js';
import { type ScoredBase, scoreBase } from './scored.js';
import { answerFields, scoredFields, traceOf } from './sda-fields.js';
import type { Service } from './service.js';
import { chatLogProbs, hasText, probsOf } from './token-probs.js';

/** What is sent: one object, or one after the other. */
export type Reply = { readonly body: object } | { readonly events: AsyncGenerator<object, void> };

/** A chat completion on its way. */
interface Chat {
  readonly asked: Asked;
  readonly logprobs: boolean;
  readonly tokenizer: Tokenizer;
  readonly scored: ScoredBase | undefined;
  /** The fields that all objects of this reply begin with */
  readonly head: { readonly id: string; readonly created: number; readonly model: string };
}

/**
 * Answers a conversation.
 *
 * @throws ApiError, SdaError before anything is sent
 */
export async function chatCompletion(
  service: Service,
  body: ChatBody,
  signal: AbortSignal,
): Promise<Reply> {
  const top = body.top_logprobs ?? 0;
  if (top > 0 && !body.logprobs) {
    throw refused(
      'top_logprobs',
      'top_logprobs asks for log-probabilities, but logprobs is not true',
    );
  }
  const maxTokens = body.max_completion_tokens ?? body.max_tokens ?? service.limits.maxTokens;
  if (maxTokens < 1)
    throw refused('max_tokens', 'An answer has at least one token, but max_tokens is 0');
  const messages = body.messages.map(messageOf);
  const asked = askedOf(service, body, { top, maxTokens });
  const request = {
    ...asked.request,
    messages,
    templateVariables: body.chat_template_kwargs ?? undefined,
  };
  const chat = { ...asked, request };
  const scored = asked.field?.evaluator
    ? await scoreBase(service, chat, scoringOf(messages, body), signal)
    : undefined;
  const settings = { ...request.settings, ...(scored && { amplification: scored.amplification }) };
  const part = { request: { ...request, settings }, seeds: asked.seeds };
  const told = await beginAnswers(service, [part], signal);
  const reply: Chat = {
    asked,
    scored,
    logprobs: body.logprobs ?? false,
    tokenizer: await service.engine.model.tokenizer(),
    head: {
      id: `chatcmpl-${randomUUID()}`,
      created: Math.floor(Date.now() / 1000),
      model: service.name,
    },
  };
  return asked.stream ? { events: chunks(reply, told) } : { body: await whole(reply, told) };
}

function messageOf({ role, content }: ChatBody['messages'][number]): ChatMessage {
  const text = typeof content === 'string' ? content : content.map((part) => part.text).join('');
  return { role: role === 'developer' ? 'system' : role, content: text };
}

function scoringOf(messages: readonly ChatMessage[], body: ChatBody) {
  const { query, ...before } = conversationOf({ messages });
  return {
    query: query!,
    prompt: { ...before, templateVariables: body.chat_template_kwargs ?? undefined },
  };
}

async function whole(chat: Chat, told: AsyncIterable<Told>): Promise<object> {
  const { asked, head, scored } = chat;
  const { steps, summaries } = await collect(told, asked.seeds.length);
  return {
    ...head,
    object: 'chat.completion',
    choices: summaries.map((summary, index) => ({
      index,
      message: {
        role: 'assistant',
        content: summary.answer,
        refusal: null,
        ...(summary.thinking !== '' && { reasoning_content: summary.thinking }),
      },
      logprobs: logprobsOf(chat, steps[index]!),
      finish_reason: finishOf(summary),
      ...(asked.field && answerFields(summary, asked.field.trace ? steps[index] : undefined)),
    })),
    usage: usageOf(summaries, summaries.length),
    ...scoredFields(scored),
  };
}

async function* chunks(chat: Chat, told: AsyncIterable<Told>): AsyncGenerator<object, void> {
  const { asked, head, scored } = chat;
  const chunk = (choice: object) => ({
    ...head,
    object: 'chat.completion.chunk',
    choices: [choice],
    ...(asked.usageInStream && { usage: null }),
  });
  for (const index of asked.seeds.keys()) {
    const delta = { role: 'assistant', content: '' };
    const first = chunk({ index, delta, logprobs: null, finish_reason: null });
    yield { ...first, ...(index === 0 && scoredFields(scored)) };
  }
  const summaries: GenerateSummary<Rule>[] = [];
  for await (const event of told) {
    const { index } = event;
    if ('step' in event) {
      const delta = deltaOf(event.step);
      const more = {
        logprobs: logprobsOf(chat, [event.step]),
        ...(asked.field?.trace && { sda: traceOf(event.step) }),
      };
      const silent = Object.keys(delta).length === 0 && more.logprobs === null && !more.sda;
      if (!silent) yield chunk({ index, delta, ...more, finish_reason: null });
      continue;
    }
    summaries[index] = event.summary;
    const last = { index, delta: {}, logprobs: null, finish_reason: finishOf(event.summary) };
    yield chunk({ ...last, ...(asked.field && answerFields(event.summary)) });
  }
  if (!asked.usageInStream) return;
  const usage = usageOf(summaries, summaries.length);
  yield { ...head, object: 'chat.completion.chunk', choices: [], usage };
}

/** The new text of a token, what was thought apart from the answer. */
function deltaOf({ parts }: StepOf<Rule>): { content?: string; reasoning_content?: string } {
  const textOf = (wanted: 'thinking' | 'answer') =>
    parts
      .filter(({ part }) => part === wanted)
      .map(({ text }) => text)
      .join('');
  const [thought, said] = [textOf('thinking'), textOf('answer')];
  return {
    ...(said !== '' && { content: said }),
    ...(thought !== '' && { reasoning_content: thought }),
  };
}

/** null where none are asked for; a token without text, such as the one that ends it, is left out. */
function logprobsOf({ asked, logprobs, tokenizer }: Chat, steps: readonly StepOf<Rule>[]) {
  if (!logprobs) return null;
  const shown = steps.filter(({ id }) => hasText(id, tokenizer));
  return {
    content: shown.map((step) => chatLogProbs(probsOf(step, !asked.field), tokenizer)),
    refusal: null,
  };
}

export function finishOf({ finishReason }: GenerateSummary<Rule>): 'stop' | 'length' {
  return finishReason === 'stop' ? 'stop' : 'length';
}
