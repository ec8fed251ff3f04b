import type { Query } from '../decode/generate.js';
import type { Choice } from '../method/rule.js';
import type { Rule } from '../rules/define.js';
import type { Tokenizer } from '../text/tokenizer.js';

/** One query whose tokens are drawn elsewhere. */
export interface SourceAsk {
  readonly query: Query<object>;
  readonly rule: Rule;
  /** At most, not more than the context has room for */
  readonly maxTokens: number;
  /** Ids that end the text; the source may stop at one by itself */
  readonly endIds: readonly number[];
  /** null where all prompts are ids and there is none */
  readonly tokenizer: Tokenizer | null;
  readonly signal?: AbortSignal | undefined;
}

/** Where the tokens of answers come from. */
export interface TokenSource {
  /** Answers of so many streams that it takes at once */
  places(streams: number): number;
  /** @throws SdaError `unsupported` for a rule that cannot be run there, before anything is */
  check(rule: Rule): void;
  /**
   * The tokens of a query, one after another, `maxTokens` of them unless the reader leaves before. After an abort by the
   * signal it just ends.
   */
  tokens(ask: SourceAsk): AsyncGenerator<Choice, void>;
  /** For traces and notes: what answers, such as "vLLM 0.32.0 at http://127.0.0.1:8000/v1, model m" */
  readonly label: string;
}
