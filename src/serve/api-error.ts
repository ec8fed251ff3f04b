import { type ErrorCode, messageOf, SdaError } from '../errors.js';

/** What a client is told where a request is not answered, in the form of OpenAI's servers. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    /** One sentence */
    message: string,
    readonly details: {
      readonly code?: string;
      /** The field at fault */
      readonly param?: string;
      /** Seconds after which the same request may be taken */
      readonly retryAfter?: number;
    } = {},
  ) {
    super(message);
  }

  get body() {
    const { code = null, param = null } = this.details;
    return { error: { message: this.message, type: typeOf(this.status), param, code } };
  }
}

/** Seconds until a place may be free. */
const RETRY_AFTER = 1;

const STATUS: Partial<Record<ErrorCode, number>> = {
  'bad-input': 400,
  'bad-template': 400,
  'no-chat-template': 400,
  'context-exceeded': 400,
  'bad-tokenizer': 400,
  unsupported: 400,
  busy: 429,
  aborted: 499,
};

/** Anything thrown, as a client is told it; of what was not foreseen only that it happened. */
export function asApiError(error: unknown): ApiError {
  if (error instanceof ApiError) return error;
  const status = error instanceof SdaError ? STATUS[error.code] : undefined;
  if (status === undefined) {
    const sentence =
      error instanceof SdaError
        ? messageOf(error)
        : 'This was not foreseen: the server has written why.';
    return new ApiError(500, sentence, { code: 'server_error' });
  }
  const { code } = error as SdaError;
  if (code === 'busy') {
    return new ApiError(status, messageOf(error), { code: 'queue_full', retryAfter: RETRY_AFTER });
  }
  return new ApiError(status, messageOf(error), {
    code: code === 'context-exceeded' ? 'context_length_exceeded' : code.replaceAll('-', '_'),
  });
}

function typeOf(status: number): string {
  if (status === 401) return 'authentication_error';
  if (status === 429) return 'rate_limit_error';
  return status < 500 ? 'invalid_request_error' : 'server_error';
}
