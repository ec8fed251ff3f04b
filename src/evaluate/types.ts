import type { CoreName } from '../text/instructions.js';

/** A response to score. */
export interface EvaluatorInput {
  readonly query: string;
  /** What was answered, without any thinking */
  readonly response: string;
  /** What the response is scored for */
  readonly core: CoreName;
  /** What a reasoning model thought before it, without tags; only the model itself is shown it */
  readonly thinking?: string | undefined;
  /** The tokens that `response` was drawn as, where they are known */
  readonly responseIds?: readonly number[] | undefined;
  /** The caller's own name of the query, where it has one */
  readonly id?: string | undefined;
}

/**
 * Why there is no score or verdict:
 * - `unparsable`, `out-of-range`, `refused`: what the model answered, after all re-asks
 * - `declined`: the server refuses this one request (content filter, context length)
 * - `rejected`: the server refuses these requests (key, quota, model, parameters): the next ones fail alike
 * - `unreachable`: no connection, time-outs, 429 and 5xx, after the retries
 * - `cost-cap`: not asked, because the allowed cost is spent
 * - `no-answer`: the response to score is empty
 * - `missing`: a file of scores has none for this query
 * - `unusable`: the model to be scored cannot take the response (context, vocabulary)
 */
export type FailureKind =
  | 'unparsable'
  | 'out-of-range'
  | 'refused'
  | 'declined'
  | 'rejected'
  | 'unreachable'
  | 'cost-cap'
  | 'aborted'
  | 'no-answer'
  | 'missing'
  | 'unusable';

/** Where a score comes from, and what it took. */
export interface Provenance {
  /** Name of the evaluator or judge */
  readonly evaluator: string;
  /** The model asked; null where none is */
  readonly model: string | null;
  /** Read from the cache: nothing was asked */
  readonly cached: boolean;
  /** HTTP requests sent, retries and re-asks included */
  readonly attempts: number;
  /** The last answer as the model gave it, without keys; null where there is none */
  readonly rawAnswer: string | null;
  /** Tokens that the server counted, over all attempts */
  readonly tokens: TokenCount;
  /** US dollars; null where the model's price is not known */
  readonly cost: number | null;
}

export interface TokenCount {
  readonly input: number;
  readonly output: number;
}

/** No result: never a number. */
export interface Failed {
  readonly status: 'failed';
  readonly kind: FailureKind;
  /** One sentence */
  readonly reason: string;
  readonly provenance: Provenance;
}

/** The score of a response, 0..100 and finite, or why there is none. */
export type Scored =
  | { readonly status: 'scored'; readonly score: number; readonly provenance: Provenance }
  | Failed;

/** Scores a response: S of the method. */
export interface Evaluator {
  readonly name: string;
  /**
   * A response that cannot be scored is a result with status `failed`, not an error.
   * @throws SdaError only where no response could be scored, such as a cache folder that cannot be written
   */
  score(input: EvaluatorInput, options?: { signal?: AbortSignal | undefined }): Promise<Scored>;
}

/** The provenance of a score that no server was asked for. */
export function localProvenance(evaluator: string, model: string | null = null): Provenance {
  return {
    evaluator,
    model,
    cached: false,
    attempts: 0,
    rawAnswer: null,
    tokens: { input: 0, output: 0 },
    cost: 0,
  };
}
