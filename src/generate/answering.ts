import type { ModelConfig } from '../model/config.js';
import type { Rule } from '../rules/define.js';
import type { ChatTemplate } from '../text/chat-template.js';
import type { Tokenizer } from '../text/tokenizer.js';
import type {
  BatchOptions,
  BatchStep,
  GenerateRequest,
  GenerateSummary,
  SdaRule,
  StepOf,
} from './types.js';

/** What prompts are made with and answers are shown with, wherever the weights are. */
export interface TextModel {
  /** The folder that has its config and texts */
  readonly dir: string;
  readonly config: ModelConfig;
  /** Positions a stream may hold, prompt and answer together */
  readonly maxContext: number;
  /** Milliseconds until it could answer */
  readonly loadMs: number;
  tokenizer(): Promise<Tokenizer>;
  /** null when there is none */
  chatTemplate(): Promise<ChatTemplate | null>;
}

/** A model that answers: `SdaModel` on this machine, or one behind a server. */
export interface AnsweringModel extends TextModel {
  /** What was odd but harmless, each a sentence */
  readonly warnings: readonly string[];
  /** See `SdaModel.generate`. */
  generate<R extends Rule = SdaRule>(
    request: GenerateRequest<R>,
    options?: Pick<BatchOptions, 'models'>,
  ): AsyncGenerator<StepOf<R>, GenerateSummary<R>>;
  /** See `SdaModel.generateBatch`. */
  generateBatch<R extends Rule = SdaRule>(
    requests: readonly GenerateRequest<R>[],
    options?: BatchOptions,
  ): AsyncGenerator<BatchStep<R>[], GenerateSummary<R>[]>;
  /** Frees what it takes; it must not be used afterwards. */
  dispose(): void;
}
