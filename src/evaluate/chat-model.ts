import pLimit from 'p-limit';
import { z } from 'zod';
import { AnswerCache, cacheKey } from './cache.js';
import { type ChatOptions, type ChatSettings, chatSettings } from './chat-options.js';
import { ProxyFetch, proxyFor, proxySecrets } from './proxy.js';
import type { Message } from './rubrics.js';
import { scrubber } from './secrets.js';
import { costOf, Spending } from './spending.js';
import {
  clientFor,
  countingFetch,
  type Explained,
  explain,
  orAborted,
  refusesStructure,
} from './transport.js';
import type { Failed, FailureKind, Provenance, TokenCount } from './types.js';
import type { Parsed } from './values.js';

/** What is asked, and how the answer is read. */
export interface Question<T> {
  /** Name of who asks, for the provenance */
  readonly evaluator: string;
  /** The query that is asked about: the questions of one item have it in common */
  readonly about: string;
  readonly messages: readonly Message[];
  /** JSON schema of the answer */
  readonly format: { readonly name: string; readonly schema: Record<string, unknown> };
  /** Added to the last message when it is asked again */
  readonly reminder: string;
  readonly parse: (answer: string) => Parsed<T>;
}

export type Asked<T> =
  | { readonly status: 'answered'; readonly value: T; readonly provenance: Provenance }
  | Failed;

/** A part of a content that is a list; those of other kinds, such as thinking, are no answer. */
const partSchema = z.object({
  type: z.string().optional(),
  text: z.string().nullish(),
  refusal: z.string().nullish(),
});
const replySchema = z.object({
  choices: z
    .array(
      z.object({
        message: z.object({
          content: z.union([z.string(), z.array(partSchema)]).nullish(),
          refusal: z.string().nullish(),
        }),
        finish_reason: z.string().nullish(),
      }),
    )
    .min(1),
});
const usageSchema = z.object({
  usage: z.object({
    prompt_tokens: z.number().nonnegative(),
    completion_tokens: z.number().nonnegative(),
  }),
});

/** A reply: its text, and what is wrong with it before it is read. */
interface Reply {
  readonly answer: string | null;
  readonly problem: Extract<Parsed<never>, { ok: false }> | null;
  readonly tokens: TokenCount | null;
}

/** What one question took so far. */
interface Effort {
  attempts: number;
  rawAnswer: string | null;
  tokens: TokenCount;
}

/** A model behind an OpenAI-compatible server that answers questions with numbers. */
export class ChatModel {
  readonly settings: ChatSettings;
  readonly spending: Spending;
  private readonly client;
  /** null where the environment names no proxy for the server */
  private readonly proxy: ProxyFetch | null;
  private readonly limit;
  private readonly cache: AnswerCache | undefined;
  private readonly scrub: (text: string) => string;
  /** Whether the schema is sent; false once the server has refused it */
  private structured: boolean;
  /** Whether the server has taken the schema */
  private schemaTaken = false;
  /** How often it has failed with the schema and not without it, while it said nothing of it */
  private schemaDoubts = 0;
  /** What it has refused and why, while it has not answered yet: see `Explained.doubt` */
  private readonly doubts = new Map<string, string>();

  /** @throws SdaError `bad-input`; see `chatSettings` and `proxyFor`. */
  constructor(options: ChatOptions = {}) {
    this.settings = chatSettings(options);
    const { model, costCap, concurrency, cacheDir, apiKey, structured } = this.settings;
    this.spending = new Spending(model, options.prices ?? {}, costCap, options.ledger);
    this.client = clientFor(this.settings);
    this.limit = pLimit(concurrency);
    this.cache = cacheDir === undefined ? undefined : new AnswerCache(cacheDir);
    const proxy = proxyFor(this.settings.endpoint);
    this.proxy = proxy && new ProxyFetch(proxy);
    this.scrub = scrubber([
      ...(apiKey === undefined ? [] : [apiKey]),
      ...(proxy ? proxySecrets(proxy) : []),
    ]);
    this.structured = structured;
  }

  /**
   * Asks once, and again where the answer cannot be read, up to `reasks` times.
   * @throws SdaError `bad-input` where the answer cannot be kept in the cache folder.
   */
  async ask<T>(
    question: Question<T>,
    options: { signal?: AbortSignal | undefined } = {},
  ): Promise<Asked<T>> {
    const key = this.keyOf(question);
    const kept = await this.cache?.read(key);
    const read = kept && question.parse(kept.answer);
    if (kept && read?.ok) {
      const effort = { attempts: 0, rawAnswer: kept.answer, tokens: { input: 0, output: 0 } };
      const provenance = { ...this.provenance(question, effort), cached: true };
      return { status: 'answered', value: read.value, provenance };
    }
    return this.limit(() => this.askServer(question, key, options.signal));
  }

  private async askServer<T>(
    question: Question<T>,
    key: string,
    signal: AbortSignal | undefined,
  ): Promise<Asked<T>> {
    const effort: Effort = { attempts: 0, rawAnswer: null, tokens: { input: 0, output: 0 } };
    const failed = (kind: FailureKind, reason: string): Failed => ({
      status: 'failed',
      kind,
      reason: this.scrub(reason),
      provenance: this.provenance(question, effort),
    });
    for (let round = 0; ; round++) {
      if (signal?.aborted)
        return failed('aborted', 'The question was aborted before it was asked.');
      const refusal = this.spending.refusal();
      if (refusal !== null) return failed('cost-cap', refusal);
      let reply: Reply;
      try {
        reply = await this.reply(question, round > 0, effort, signal);
      } catch (error) {
        const explained = explain(error, this.settings, {
          scrub: this.scrub,
          proxy: this.proxy?.used() ?? null,
        });
        return failed(this.kindOf(explained, question), explained.reason);
      }
      this.spending.add(question.evaluator, reply.tokens);
      effort.rawAnswer = reply.answer;
      effort.tokens = {
        input: effort.tokens.input + (reply.tokens?.input ?? 0),
        output: effort.tokens.output + (reply.tokens?.output ?? 0),
      };
      const read = reply.problem ?? question.parse(reply.answer ?? '');
      if (read.ok) {
        const { model } = this.settings;
        await this.cache?.write(key, { model, answer: reply.answer!, tokens: effort.tokens });
        const provenance = this.provenance(question, effort);
        return { status: 'answered', value: read.value, provenance };
      }
      if (round === this.settings.reasks) {
        const times = round === 0 ? 'once' : `${round + 1} times`;
        return failed(read.kind, `${read.reason} It was asked ${times}.`);
      }
    }
  }

  /** One answer; with a schema where the server takes one. */
  private async reply(
    question: Question<unknown>,
    again: boolean,
    effort: Effort,
    signal: AbortSignal | undefined,
  ): Promise<Reply> {
    const structured = this.structured;
    try {
      const reply = await this.request(question, again, structured, effort, signal);
      if (structured) this.schemaTaken = true;
      return reply;
    } catch (error) {
      const refuses = structured ? refusesStructure(error) : 'no';
      if (refuses === 'no' || (refuses === 'perhaps' && this.schemaTaken)) throw error;
      if (refuses === 'yes') {
        this.structured = false;
        return this.request(question, again, false, effort, signal);
      }
      const reply = await this.request(question, again, false, effort, signal).catch((second) => {
        throw signal?.aborted ? second : error;
      });
      // a passing trouble of the server looks the same once
      if (++this.schemaDoubts === 2) this.structured = false;
      return reply;
    }
  }

  /** A refusal that two items have in common, before anything was answered, is one of all requests. */
  private kindOf({ kind, doubt }: Explained, { about, evaluator }: Question<unknown>): FailureKind {
    if (doubt === undefined || this.spending.hasAnswered(evaluator)) return kind;
    const earlier = this.doubts.get(doubt) ?? about;
    this.doubts.set(doubt, earlier);
    return earlier === about ? kind : 'rejected';
  }

  private async request(
    { messages, format, reminder }: Question<unknown>,
    again: boolean,
    structured: boolean,
    effort: Effort,
    signal: AbortSignal | undefined,
  ): Promise<Reply> {
    const asked = messages.map((message, index) =>
      again && index === messages.length - 1
        ? { ...message, content: `${message.content}\n\n${reminder}` }
        : message,
    );
    const client = this.client.withOptions({
      fetch: countingFetch(this.proxy?.fetch ?? fetch, () => {
        effort.attempts++;
      }),
    });
    let body: unknown;
    try {
      body = await orAborted(
        client.chat.completions.create(
          {
            model: this.settings.model,
            messages: asked,
            ...this.settings.parameters,
            ...(structured && {
              response_format: { type: 'json_schema', json_schema: { ...format, strict: true } },
            }),
          },
          signal ? { signal } : {},
        ),
        signal,
      );
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error;
    }
    return this.read(body);
  }

  private read(body: unknown): Reply {
    const usage = usageSchema.safeParse(body).data?.usage;
    const tokens = usage ? { input: usage.prompt_tokens, output: usage.completion_tokens } : null;
    const reply = replySchema.safeParse(body).data?.choices[0];
    const bad = (kind: 'unparsable' | 'refused', reason: string, answer: string | null): Reply => ({
      answer,
      problem: { ok: false, kind, reason },
      tokens,
    });
    if (!reply) {
      const { endpoint } = this.settings;
      const reason = `The server at ${endpoint} answered with no chat completion: check that the address is that of its API, which mostly ends in /v1.`;
      return bad('unparsable', reason, null);
    }
    const { content } = reply.message;
    const parts = typeof content === 'string' ? [{ text: content }] : (content ?? []);
    const answer = this.scrub(textOf(parts));
    const refusal = reply.message.refusal || parts.map((part) => part.refusal ?? '').join('');
    if (refusal) return bad('refused', 'The model declines to judge.', this.scrub(refusal));
    if (reply.finish_reason === 'content_filter') {
      return bad('refused', 'The server filtered the answer.', answer);
    }
    // the last digit of a number may be missing
    if (reply.finish_reason === 'length') {
      return bad('unparsable', 'The answer was cut off at the largest number of tokens.', answer);
    }
    return { answer, problem: null, tokens };
  }

  private keyOf({ messages, format }: Question<unknown>): string {
    const { endpoint, model, parameters, structured } = this.settings;
    const schema = structured ? format : null;
    return cacheKey({ endpoint, model, parameters, messages, schema });
  }

  private provenance({ evaluator }: Question<unknown>, effort: Effort): Provenance {
    const { model, price } = this.settings;
    return { evaluator, model, cached: false, ...effort, cost: costOf(effort.tokens, price) };
  }
}

function textOf(parts: readonly z.infer<typeof partSchema>[]): string {
  return parts
    .filter(({ type = 'text' }) => type === 'text' || type === 'output_text')
    .map(({ text }) => text ?? '')
    .join('');
}
