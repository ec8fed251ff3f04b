import type { Choice } from '../method/rule.js';
import type { TokenChoice } from '../method/step.js';

export type FinishReason = 'stop' | 'length' | 'context' | 'aborted';

/** A token drawn for one query, or the end of its text. */
export interface DecodeEvent<C extends Choice = TokenChoice> {
  /** Index of the query */
  readonly query: number;
  readonly choice: C;
  /** Why the text ends here; null while it goes on. With 'stop' on a stop id, the token is not part of the text. */
  readonly finishReason: FinishReason | null;
  /** Of this query so far */
  readonly timing: DecodeTiming;
}

/** Milliseconds: from a query's turn to its first token, and from there to its newest. */
export interface DecodeTiming {
  readonly prefillMs: number;
  readonly decodeMs: number;
}

/** A query that ends without its text. */
export interface DecodeFailure {
  readonly query: number;
  readonly error: unknown;
}
