import { OpenAI } from 'openai';
import type { ChatSettings } from './chat-options.js';
import type { FailureKind } from './types.js';

/** A server that wants a longer pause than this is given up: a run should say so, not sleep. */
const LONGEST_PAUSE_S = 60;

/** The client of a server. It repeats requests by itself; nothing here does so again. */
export function clientFor(settings: ChatSettings): OpenAI {
  return new OpenAI({
    baseURL: settings.endpoint,
    apiKey: settings.apiKey ?? 'none',
    // a server without a key is sent none
    ...(settings.apiKey === undefined && { defaultHeaders: { Authorization: null } }),
    maxRetries: settings.maxRetries,
    timeout: settings.timeoutMs,
    logLevel: 'off',
  });
}

/**
 * fetch that tells of each request; that reads the whole answer at once, so that the client's time-out and retries
 * cover it; and that lets the client not retry where this is of no use.
 */
export function countingFetch(onRequest: () => void): typeof fetch {
  return async (input, init) => {
    onRequest();
    const response = await fetch(input, init);
    const text = await response.text();
    const headers = new Headers(response.headers);
    headers.delete('content-encoding');
    headers.delete('content-length');
    // what is no JSON is found out by reading it
    if (response.ok) headers.set('content-type', 'application/json');
    if (isFinal(response, text)) headers.set('x-should-retry', 'false');
    const body = [204, 205, 304].includes(response.status) ? null : text;
    return new Response(body, { status: response.status, headers });
  };
}

function isFinal({ status, headers }: Response, text: string): boolean {
  if (status === 429 && text.includes('insufficient_quota')) return true;
  const pause = headers.get('retry-after');
  if (pause === null) return false;
  const seconds = Number(pause);
  return (
    (Number.isNaN(seconds) ? (Date.parse(pause) - Date.now()) / 1000 : seconds) > LONGEST_PAUSE_S
  );
}

/** Whether a server says that it does not know the structured form of output. */
export function refusesStructure(error: unknown): boolean {
  if (!(error instanceof OpenAI.APIError) || error.status !== 400) return false;
  return /response_format|json_schema|structured output/i.test(
    `${error.message} ${error.param ?? ''} ${error.code ?? ''}`,
  );
}

/** What a failed request means. */
export function explain(
  error: unknown,
  { endpoint, model, apiKeyEnv, timeoutMs }: ChatSettings,
): { kind: FailureKind; reason: string } {
  const who = `${model} at ${endpoint}`;
  if (error instanceof OpenAI.APIUserAbortError) {
    return { kind: 'aborted', reason: `The question to ${who} was aborted.` };
  }
  if (error instanceof OpenAI.APIConnectionTimeoutError) {
    return {
      kind: 'unreachable',
      reason: `${who} did not answer within ${timeoutMs} ms: give it more time, or ask less at once.`,
    };
  }
  if (error instanceof OpenAI.APIError && error.status !== undefined) {
    const { status, code } = error as { status: number; code?: unknown };
    const said = `${who} answered ${clause(error.message)}`;
    if (code === 'insufficient_quota') {
      return { kind: 'rejected', reason: `${said}: the account has no credit left.` };
    }
    if (status === 401 || status === 403) {
      return { kind: 'rejected', reason: `${said}: check the key in ${apiKeyEnv}.` };
    }
    if (status === 429 || status === 408 || status === 409 || status >= 500) {
      return { kind: 'unreachable', reason: `${said}: try again later, or ask less at once.` };
    }
    return { kind: 'rejected', reason: `${said}: check the model's name and the parameters.` };
  }
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  return {
    kind: 'unreachable',
    reason: `${who} cannot be reached (${clause(String((cause as Error)?.message ?? cause))}): check the address and that the server runs.`,
  };
}

/** A message of others inside a sentence: one line, not too long. */
function clause(message: string): string {
  const line = message
    .replace(/\s+/g, ' ')
    .trim()
    .replace(/[.:]+$/, '');
  return line.length > 300 ? `${line.slice(0, 300)} ...` : line;
}
