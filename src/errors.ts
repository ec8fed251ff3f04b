/** What went wrong, for programs; the message is for people. */
export type ErrorCode =
  | 'usage'
  | 'file-missing'
  | 'bad-file'
  | 'bad-tensor'
  | 'bad-config'
  | 'unsupported'
  | 'bad-tokenizer'
  | 'no-chat-template'
  | 'bad-template'
  | 'bad-input'
  | 'context-exceeded'
  | 'out-of-memory'
  | 'bad-logits'
  | 'runtime'
  | 'setup'
  | 'aborted';

/**
 * The one error class of the package. Its message is a single sentence that says what failed, where
 * (file, tensor, option, step, row), what was expected, what was found, and what to do about it.
 */
export class SdaError extends Error {
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = 'SdaError';
    this.code = code;
  }
}

/** The message of anything thrown, for use inside another error's sentence. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
