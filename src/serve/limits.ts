/** What one client may ask for. */
export interface Limits {
  /** Bytes of a body */
  readonly body: number;
  /** Tokens of an answer; also what one has that does not say */
  readonly maxTokens: number;
  /** Answers of one request, over all its prompts */
  readonly answers: number;
}

export const DEFAULT_LIMITS: Limits = { body: 1 << 20, maxTokens: 1024, answers: 32 };
