import { type Tensor1D, tensor1d } from '@tensorflow/tfjs-core';
import type { BatchShape } from '../decode/checks.js';
import { logitsAt } from '../decode/positions.js';
import { checkStreams, chunks } from '../decode/streams.js';
import { SdaError } from '../errors.js';
import type { ModelConfig } from '../model/config.js';
import { forward } from '../model/decoder.js';
import { KvCache } from '../model/kv-cache.js';
import { type LoadDecoderOptions, type LoadedDecoder, loadDecoder } from '../model/load-model.js';
import { checkMemory, type MemoryPlan } from '../model/memory-plan.js';
import type { Rule } from '../rules/define.js';
import { type ChatTemplate, loadChatTemplate } from '../text/chat-template.js';
import { loadTokenizer, type Tokenizer } from '../text/tokenizer.js';
import type { AnsweringModel } from './answering.js';
import { generateBatch } from './batch.js';
import type {
  BatchOptions,
  BatchStep,
  GenerateRequest,
  GenerateSummary,
  SdaRule,
  StepOf,
} from './types.js';

export interface LoadOptions extends LoadDecoderOptions {
  /** A built-in template's name or a file, instead of the checkpoint's own chat template. */
  readonly chatTemplate?: string | undefined;
}

/**
 * Loads a Llama- or Qwen-architecture model from a Hugging Face folder, ready to decode with SDA.
 *
 * @param dir folder with config.json, safetensors weights and, for text, tokenizer.json
 * @throws SdaError naming the file, tensor or field at fault, what was expected and what was found
 */
export async function loadModel(dir: string, options: LoadOptions = {}): Promise<SdaModel> {
  let plan: MemoryPlan | undefined;
  const onPlan = (made: MemoryPlan) => {
    plan = made;
    options.onPlan?.(made);
  };
  const decoder = await loadDecoder(dir, { ...options, onPlan });
  try {
    return new SdaModel(dir, decoder, options, options.memoryCheck === false ? undefined : plan);
  } catch (error) {
    decoder.dispose();
    throw error;
  }
}

/** A loaded model. Its weights stay on the device until `dispose`. */
export class SdaModel implements AnsweringModel {
  readonly dir: string;
  readonly decoder: LoadedDecoder;
  /** Positions a stream may hold, prompt and answer together */
  readonly maxContext: number;
  private readonly templateChoice: string | undefined;
  private tokenizerPromise: Promise<Tokenizer> | undefined;
  private templatePromise: Promise<ChatTemplate | null> | undefined;
  private bias: Tensor1D | null | undefined;

  /** @param plan what the weights take and what was free before them, to check batches by; default: unchecked */
  constructor(
    dir: string,
    decoder: LoadedDecoder,
    options: LoadOptions,
    private readonly plan?: MemoryPlan,
  ) {
    const longest = decoder.config.contextLength;
    const { maxContext = longest } = options;
    if (!Number.isInteger(maxContext) || maxContext < 2 || maxContext > longest) {
      throw new SdaError(
        'bad-input',
        `maxContext must be a whole number in 2..${longest} (what ${dir} was made for), but is ${maxContext}.`,
      );
    }
    this.dir = dir;
    this.decoder = decoder;
    this.maxContext = maxContext;
    this.templateChoice = options.chatTemplate;
  }

  get config(): ModelConfig {
    return this.decoder.config;
  }

  /** What was odd but harmless while loading, each a sentence. */
  get warnings(): readonly string[] {
    return this.decoder.warnings;
  }

  get loadMs(): number {
    return this.decoder.loadMs;
  }

  /**
   * Refuses a batch that the memory cannot hold, before it begins.
   *
   * @throws SdaError `out-of-memory` with the numbers
   */
  checkMemory({ streams, places, room }: BatchShape): void {
    if (!this.plan) return;
    const { weights, available, kv, device } = this.plan;
    const needs = { weights, available, kv, device, streams, batch: places, context: room };
    const what = places > 1 ? `A batch of ${places} with ${this.dir}` : this.dir;
    checkMemory(this.config, needs, what);
  }

  /** The checkpoint's tokenizer, read when first asked for. */
  tokenizer(): Promise<Tokenizer> {
    const promise = this.tokenizerPromise ?? loadTokenizer(this.dir);
    this.tokenizerPromise = promise;
    return promise;
  }

  /** The chat template, read when first asked for; null when there is none. */
  chatTemplate(): Promise<ChatTemplate | null> {
    const promise = this.templatePromise ?? loadChatTemplate(this.dir, this.templateChoice);
    this.templatePromise = promise;
    return promise;
  }

  /**
   * Decodes one answer with SDA, one of its ablations, or another rule.
   *
   * @yields one object a token, as soon as it is drawn
   * @returns the whole text, its tokens, why it ended, and timing
   * @throws SdaError before the first token for bad settings, prompts or templates; `bad-logits` naming step,
   *   stream and token. An abort through `signal` is no error: the summary says so. Leaving early (`break`, `return()`)
   *   frees all that the answer took.
   */
  async *generate<R extends Rule = SdaRule>(
    request: GenerateRequest<R>,
    options: Pick<BatchOptions, 'models'> = {},
  ): AsyncGenerator<StepOf<R>, GenerateSummary<R>> {
    const batch = generateBatch(this, [request], options);
    try {
      for (;;) {
        const { value, done } = await batch.next();
        if (done) return value[0]!;
        for (const { step } of value) yield step;
      }
    } finally {
      await batch.return([]); // a reader that leaves early leaves the batch's cache to be disposed
    }
  }

  /**
   * Decodes several queries as one batch. All must have the same `rule`, `signal` and `singleStream`; settings are
   * each request's own. A query's text does not depend on its neighbours (see `decode`).
   *
   * @yields the tokens of each step, with the index of their query, and each summary with its last token
   * @returns the summaries in the order of the requests
   * @throws SdaError as `generate`; `bad-input` where requests differ in what must be the same
   */
  generateBatch<R extends Rule = SdaRule>(
    requests: readonly GenerateRequest<R>[],
    options: BatchOptions = {},
  ): AsyncGenerator<BatchStep<R>[], GenerateSummary<R>[]> {
    return generateBatch(this, requests, options);
  }

  /**
   * Logits of the token that follows `ids`.
   *
   * @returns vocabSize values
   */
  async logits(ids: readonly number[]): Promise<Float32Array> {
    checkStreams([ids], this.config.vocabSize, this.maxContext);
    const cache = new KvCache(this.config, 1, ids.length, this.maxContext, this.decoder.kv);
    try {
      const batches = chunks([{ row: 0, ids, start: 0 }]);
      const promptLength = ids.length;
      for (const batch of batches.slice(0, -1)) {
        forward(this.decoder, batch, cache, { logits: 'none', promptLength });
      }
      const last = { logits: 'last', promptLength } as const;
      const logits = forward(this.decoder, batches.at(-1)!, cache, last)!;
      try {
        return (await logits.data()) as Float32Array;
      } finally {
        logits.dispose();
      }
    } finally {
      cache.dispose();
    }
  }

  /**
   * Logits of the tokens that follow some of `ids`, such as those of an answer that is given.
   *
   * @param positions of `ids`, 0 is the first; default: all, in their order
   * @returns vocabSize values of each, in the order of `positions`
   * @throws SdaError `bad-input` for a position outside of `ids`
   */
  async logitsAt(
    ids: readonly number[],
    positions: readonly number[] = [...ids.keys()],
  ): Promise<Float32Array[]> {
    checkStreams([ids], this.config.vocabSize, this.maxContext);
    const wrong = positions.find((at) => !Number.isInteger(at) || at < 0 || at >= ids.length);
    if (wrong !== undefined) {
      throw new SdaError(
        'bad-input',
        `There is no position ${wrong}: the ids have the positions 0..${ids.length - 1}.`,
      );
    }
    const each = [...new Set(positions)].sort((a, b) => a - b);
    const found = await logitsAt(this.decoder, ids, each);
    return positions.map((at) => found[each.indexOf(at)]!);
  }

  /**
   * -Infinity for the ids that the tokenizer has no token for (padding of the vocabulary), else 0; undefined
   * when every id has a token. float32 [vocabSize], owned by the model.
   */
  logitBias(tokenizer: Tokenizer): Tensor1D | undefined {
    if (this.bias === undefined) {
      const values = Float32Array.from({ length: this.config.vocabSize }, (_, id) =>
        tokenizer.hasToken(id) ? 0 : Number.NEGATIVE_INFINITY,
      );
      this.bias = values.every((value) => value === 0) ? null : tensor1d(values);
    }
    return this.bias ?? undefined;
  }

  /** Frees the weights. The model must not be used afterwards. */
  dispose(): void {
    this.bias?.dispose();
    this.bias = null;
    this.decoder.dispose();
  }
}
