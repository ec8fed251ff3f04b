import { ChatModel } from './chat-model.js';
import type { ChatOptions } from './chat-options.js';
import { parseScore } from './parse.js';
import { SCORE_FORMAT, SCORE_SCHEMA, scoreMessages } from './rubrics.js';
import { type Evaluator, type EvaluatorInput, localProvenance, type Scored } from './types.js';

export interface OpenAiEvaluatorOptions extends ChatOptions {
  /** Your own rubric, instead of the built-in one of each core */
  readonly rubric?: string | undefined;
}

/** Scores by a model behind any OpenAI-compatible server: the paper's evaluator. */
export class OpenAiEvaluator implements Evaluator {
  readonly name = 'openai';
  /** The model asked, with what it has cost */
  readonly chat: ChatModel;

  /** @throws SdaError `bad-input`; see `ChatModel`. */
  constructor(private readonly options: OpenAiEvaluatorOptions = {}) {
    this.chat = new ChatModel(options);
  }

  async score(
    input: EvaluatorInput,
    options: { signal?: AbortSignal | undefined } = {},
  ): Promise<Scored> {
    if (input.response.trim() === '') {
      return {
        status: 'failed',
        kind: 'no-answer',
        reason: 'The response to score is empty.',
        provenance: localProvenance(this.name, this.chat.settings.model),
      };
    }
    const asked = await this.chat.ask(
      {
        evaluator: this.name,
        about: input.query,
        messages: scoreMessages(input, this.options.rubric),
        format: SCORE_SCHEMA,
        reminder: SCORE_FORMAT,
        parse: parseScore,
      },
      options,
    );
    if (asked.status === 'failed') return asked;
    return { status: 'scored', score: asked.value, provenance: asked.provenance };
  }
}
