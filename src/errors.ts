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
  | 'busy'
  | 'setup'
  | 'aborted';

/**
 * The one error class of the package. Its message is a single sentence that says what failed, where
 * (file, tensor, option, step, row), what was expected, what was found, and what to do about it.
 */
export class SdaError extends Error {
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: { cause?: unknown }) {
    // only a compiler's output has lines of its own
    super(shortened(code === 'setup' ? message : printable(message)), options);
    this.name = 'SdaError';
    this.code = code;
  }
}

/** A file's own names with control characters escaped: they could move a terminal's cursor, or fake a line. */
export function printable(text: string): string {
  return text.replace(
    /\p{Cc}|\p{Bidi_Control}|[\u2028\u2029]/gu,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

/** Longest message; a file's own names and values, which messages quote, have no end. */
const MAX_MESSAGE = 2500;

/** A long message without its middle: the place stands at its beginning, the advice at its end. */
function shortened(message: string): string {
  if (message.length <= MAX_MESSAGE) return message;
  return `${message.slice(0, MAX_MESSAGE - 500)} ... ${message.slice(-495)}`;
}

/** The message of anything thrown, for use inside another error's sentence. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/**
 * What a library says of a file it cannot use; `otherwise` where it only tripped over a value that was not there,
 * which says nothing to the file's owner.
 */
export function libraryMessage(error: unknown, otherwise: string): string {
  const message = messageOf(error);
  return error instanceof TypeError || /\bundefined\b|\[object /.test(message)
    ? otherwise
    : message;
}
