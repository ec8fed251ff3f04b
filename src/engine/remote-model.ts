import { setMaxListeners } from 'node:events';
import pLimit from 'p-limit';
import { checkBatch } from '../decode/checks.js';
import type { FinishReason } from '../decode/generate.js';
import { Mailbox } from '../decode/mailbox.js';
import { SdaError } from '../errors.js';
import { Answer } from '../generate/answer.js';
import type { AnsweringModel } from '../generate/answering.js';
import { prepare, refuseEmpty, ruleOf, tokenizerFor } from '../generate/request.js';
import type {
  BatchOptions,
  BatchStep,
  GenerateRequest,
  GenerateSummary,
  SdaRule,
  StepOf,
} from '../generate/types.js';
import type { ModelConfig } from '../model/config.js';
import { allEndings } from '../model/endings.js';
import type { Rule } from '../rules/define.js';
import { sda } from '../rules/sda.js';
import { type ChatTemplate, loadChatTemplate } from '../text/chat-template.js';
import { loadTokenizer, type Tokenizer } from '../text/tokenizer.js';
import type { TokenSource } from './source.js';

export interface RemoteModelOptions {
  /** Folder with config.json, tokenizer.json and the chat template; its weights are not read */
  readonly dir: string;
  readonly config: ModelConfig;
  readonly maxContext: number;
  readonly loadMs: number;
  readonly warnings: readonly string[];
  readonly chatTemplate?: string | undefined;
  readonly source: TokenSource;
}

/** A model whose weights are behind a server: prompts, texts and seeds are made here, tokens are drawn there. */
export class RemoteModel implements AnsweringModel {
  readonly dir: string;
  readonly config: ModelConfig;
  readonly maxContext: number;
  readonly loadMs: number;
  readonly warnings: readonly string[];
  private readonly source: TokenSource;
  private readonly closed = new AbortController();
  private tokenizerPromise: Promise<Tokenizer> | undefined;
  private templatePromise: Promise<ChatTemplate | null> | undefined;

  constructor(private readonly options: RemoteModelOptions) {
    const { dir, config, maxContext, loadMs, warnings, source } = options;
    this.dir = dir;
    this.config = config;
    this.maxContext = maxContext;
    this.loadMs = loadMs;
    this.warnings = warnings;
    this.source = source;
  }

  /** What answers, such as "vLLM 0.32.0 at http://127.0.0.1:8000/v1, model m" */
  get label(): string {
    return this.source.label;
  }

  tokenizer(): Promise<Tokenizer> {
    this.tokenizerPromise ??= loadTokenizer(this.dir);
    return this.tokenizerPromise;
  }

  chatTemplate(): Promise<ChatTemplate | null> {
    this.templatePromise ??= loadChatTemplate(this.dir, this.options.chatTemplate);
    return this.templatePromise;
  }

  async *generate<R extends Rule = SdaRule>(
    request: GenerateRequest<R>,
    options: Pick<BatchOptions, 'models'> = {},
  ): AsyncGenerator<StepOf<R>, GenerateSummary<R>> {
    const { rule, query, template, tokenizer } = await this.prepared(request, options);
    const answer = new Answer({ model: this, rule, request, tokenizer, query, template });
    const longest = Math.max(...query.streams.map((ids) => ids.length));
    const room = this.maxContext - longest;
    const maxTokens = Math.min(query.maxTokens, room);
    const endings = request.ignoreEos ? [] : allEndings(this.config, tokenizer);
    const endIds = endings.map(({ id }) => id).filter((id) => id < this.config.vocabSize);
    const signal = AbortSignal.any([
      this.closed.signal,
      ...(request.signal ? [request.signal] : []),
    ]);
    setMaxListeners(0, signal); // several for each request under way
    const begun = performance.now();
    let firstTokenAt = begun;
    let count = 0;
    for await (const choice of this.source.tokens({
      rule,
      query,
      maxTokens,
      endIds,
      tokenizer,
      signal,
    })) {
      const now = performance.now();
      if (++count === 1) firstTokenAt = now;
      const timing = { prefillMs: firstTokenAt - begun, decodeMs: now - firstTokenAt };
      const ends = answer.endsWith(choice);
      const atLimit = count < maxTokens ? null : count < room ? 'length' : 'context';
      const reason = count >= query.maxTokens ? 'length' : atLimit;
      const finishReason: FinishReason | null = ends ? 'stop' : reason;
      yield answer.take<R>({ query: 0, choice, finishReason, timing });
      if (finishReason !== null) break;
    }
    return answer.summary<R>();
  }

  async *generateBatch<R extends Rule = SdaRule>(
    requests: readonly GenerateRequest<R>[],
    options: BatchOptions = {},
  ): AsyncGenerator<BatchStep<R>[], GenerateSummary<R>[]> {
    refuseEmpty(requests);
    const prepared = await Promise.all(requests.map((each) => this.prepared(each, options)));
    const streams = Math.max(1, ...prepared.map(({ query }) => query.streams.length));
    const atOnce = Math.min(
      options.maxBatch ?? Number.POSITIVE_INFINITY,
      this.source.places(streams),
    );
    const limit = pLimit(Math.max(1, atOnce));
    const told = new Mailbox<BatchStep<R>>();
    const left = new AbortController();
    const summaries: GenerateSummary<R>[] = [];
    const run = async (request: GenerateRequest<R>, query: number) => {
      const signal = AbortSignal.any([left.signal, ...(request.signal ? [request.signal] : [])]);
      const answer = this.generate({ ...request, signal }, options);
      let last: StepOf<R> | undefined;
      for (;;) {
        const { value, done } = await answer.next();
        if (last !== undefined) {
          // the last step has the summary with it, unless the answer was aborted
          const ended = done && value.finishReason !== 'aborted';
          told.put({ query, step: last, summary: ended ? value : null });
        }
        if (done) {
          summaries[query] = value;
          return;
        }
        last = value;
      }
    };
    const all = Promise.all(requests.map((request, query) => limit(() => run(request, query))));
    all.then(
      () => told.end(),
      (error: unknown) => told.fail(error),
    );
    try {
      for await (const step of told) yield [step];
      return summaries;
    } finally {
      left.abort();
      limit.clearQueue();
    }
  }

  dispose(): void {
    this.closed.abort();
  }

  private async prepared<R extends Rule>(
    request: GenerateRequest<R>,
    { models = {} }: Pick<BatchOptions, 'models'>,
  ) {
    const rule = ruleOf(request);
    const other = Object.entries(rule.streams).find(([, { model }]) => model !== undefined);
    if (other || Object.keys(models).length > 0) {
      throw new SdaError(
        'unsupported',
        `The rule ${rule.name} has ${other ? `the stream ${other[0]} run by another model` : 'no streams of other models'}: an engine behind a server runs all streams by its one model.`,
      );
    }
    this.source.check(rule);
    const { query, template } = await prepare(this, request, {});
    const tokenizer = await tokenizerFor(this, [request]);
    const { vocabSize } = this.config;
    const given = Object.keys(rule.streams).slice(0, query.streams.length);
    const names = rule.name === sda.name ? undefined : given;
    checkBatch([query], { vocabSize, maxContext: this.maxContext, streams: names });
    rule.step.check?.(0, query.settings as never, { count: query.streams.length, names });
    return { rule, query, template, tokenizer };
  }
}
