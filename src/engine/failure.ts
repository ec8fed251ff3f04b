import { OpenAI } from 'openai';
import { messageOf, SdaError } from '../errors.js';
import { whyNotReached } from '../evaluate/connection.js';
import type { UsedProxy } from '../evaluate/proxy.js';

/** The server that a failure is told of. */
export interface Asked {
  readonly endpoint: string;
  readonly apiKeyEnv: string;
  /** Applied to all words of the server */
  readonly scrub: (text: string) => string;
  readonly proxy: UsedProxy | null;
}

/** A stream of tokens that ended before its end. */
export class BrokenStream extends Error {}

/** Whether the same request may succeed later: the server is gone, starting, busy, or broke off. */
export function mayPass(error: unknown): boolean {
  if (error instanceof SdaError || error instanceof OpenAI.APIUserAbortError) return false;
  if (error instanceof OpenAI.APIError && error.status !== undefined) {
    const status = error.status as number;
    return status === 408 || status === 429 || status >= 500;
  }
  // a connection that broke, before the answer or in it; an error that the stream itself told of
  return true;
}

/** What a failed request means, as one sentence. */
export function explained(error: unknown, asked: Asked): SdaError {
  if (error instanceof SdaError) return error;
  const { endpoint, apiKeyEnv, scrub, proxy } = asked;
  const tell = (code: SdaError['code'], sentence: string) =>
    new SdaError(code, scrub(sentence), { cause: error });
  if (error instanceof BrokenStream) return tell('runtime', `${error.message}.`);
  if (error instanceof OpenAI.APIConnectionTimeoutError) {
    return tell(
      'runtime',
      `The server at ${endpoint} did not answer in time: look at its log, or ask for fewer answers at once.`,
    );
  }
  if (!(error instanceof OpenAI.APIError) || error.status === undefined) {
    const told = error instanceof OpenAI.APIError && error.error !== undefined;
    return tell(
      'runtime',
      told
        ? `The server at ${endpoint} broke an answer off with "${clause(error.message)}": look at its log.`
        : `The server at ${endpoint} cannot be reached ${whyNotReached(error, { endpoint, proxy })}.`,
    );
  }
  const status = error.status as number;
  const words = clause(wordsOf(error));
  const said = `The server at ${endpoint} answered ${status}${words === '' ? '' : `: "${words}"`}`;
  if (status === 401 || status === 403) {
    return tell('bad-input', `${said}; give its key in the environment variable ${apiKeyEnv}.`);
  }
  if (
    /context (length|size)|max_model_len|longer than the maximum|maximum.{0,40}tokens/i.test(words)
  ) {
    return tell('context-exceeded', `${said}; shorten the prompt, or ask for fewer tokens.`);
  }
  if (status === 404 || status === 405) {
    return tell('bad-input', `${said}; check the address, such as http://HOST:8000/v1.`);
  }
  if (status === 429 || status >= 500) return tell('runtime', `${said}; look at its log.`);
  return tell('bad-input', `${said}.`);
}

function wordsOf(error: InstanceType<typeof OpenAI.APIError>): string {
  const body = error.error as { message?: unknown; detail?: unknown } | undefined;
  const words = body?.message ?? body?.detail;
  return typeof words === 'string' ? words : words === undefined ? '' : JSON.stringify(words);
}

/** Words of others inside a sentence: one line, not too long, without its full stop. */
export function clause(words: unknown): string {
  const line = messageOf(words)
    .replace(/\s+/g, ' ')
    .trim()
    .replace(/[.:]+$/, '');
  return line.length > 400 ? `${line.slice(0, 400)} ...` : line;
}
