import { OpenAI } from 'openai';
import { onAbort } from '../abort.js';
import type { ChatSettings } from './chat-options.js';
import { proxyNote, whyNotReached } from './connection.js';
import type { UsedProxy } from './proxy.js';
import { errorIn, type ServerError } from './server-words.js';
import type { FailureKind } from './types.js';

/** A server that wants a longer pause than this is given up: a run should say so, not sleep. */
const LONGEST_PAUSE_S = 60;
/** Marks an error that came with the status of a good answer. */
const INSIDE = 'x-sda-inside';

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
 * cover it; that brings errors of every form into OpenAI's; and that lets the client not retry where this is of no use.
 */
export function countingFetch(send: typeof fetch, onRequest: () => void): typeof fetch {
  return async (input, init) => {
    onRequest();
    const response = await send(input, init);
    const text = await response.text();
    const headers = new Headers(response.headers);
    headers.delete('content-encoding');
    headers.delete('content-length');
    // what is no JSON is found out by reading it
    headers.set('content-type', 'application/json');
    if (isFinal(response, text)) headers.set('x-should-retry', 'false');
    const error = errorIn(text, response.ok);
    if (error) {
      if (response.ok) headers.set(INSIDE, String(response.status));
      const status = response.ok ? statusOf(error) : response.status;
      return new Response(JSON.stringify({ error }), { status, headers });
    }
    const body = [204, 205, 304].includes(response.status) ? null : text;
    return new Response(body, { status: response.status, headers });
  };
}

/** Ends with the signal at once, also while the client waits before a retry. */
export async function orAborted<T>(
  work: PromiseLike<T>,
  signal: AbortSignal | undefined,
): Promise<T> {
  if (!signal) return work;
  let leave = () => {};
  const aborted = new Promise<never>((_, reject) => {
    leave = onAbort(signal, () => reject(new OpenAI.APIUserAbortError()));
  });
  try {
    return await Promise.race([work, aborted]);
  } finally {
    leave();
  }
}

/** The status that an error would have had, had it not come with that of a good answer. */
function statusOf({ code, type }: ServerError): number {
  const number = Number(code);
  if (Number.isInteger(number) && number >= 400 && number < 600) return number;
  return /rate.?limit|overload|time.?out|unavailable|server.?error/i.test(`${code} ${type}`)
    ? 503
    : 400;
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

/** What a server said of a request that it refuses. */
interface Refusal {
  readonly status: number;
  readonly words: string;
  readonly code: string;
  readonly param: string;
}

function refusalIn(error: unknown): Refusal | null {
  if (!(error instanceof OpenAI.APIError) || error.status === undefined) return null;
  const { message = '', code, type, param } = (error.error ?? {}) as Partial<ServerError>;
  const codes = `${code ?? ''} ${type ?? ''}`;
  return {
    status: error.status as number,
    words: message,
    code: codes,
    param: String(param ?? ''),
  };
}

/**
 * Whether a server refuses the structured form of output: 'yes' where it says so, 'perhaps' where only the same request
 * without it tells, since servers that do not know it answer 400, 404, 422 or 500 in words of their own.
 */
export function refusesStructure(error: unknown): 'yes' | 'perhaps' | 'no' {
  const refusal = refusalIn(error);
  if (!refusal || ![400, 404, 415, 422, 500, 501].includes(refusal.status)) return 'no';
  const { status, words, code, param } = refusal;
  const all = `${words} ${code} ${param}`;
  if (/response_format|json_schema|structured.?output|grammar/i.test(all)) return 'yes';
  const other = isOfThisItem(refusal) || (status === 404 && /\bmodel\b/i.test(words));
  return other ? 'no' : 'perhaps';
}

/** Of one request's own text: its length, and what filters make of it. */
const THIS_ITEM =
  /content.?(?:filter|policy|management)|moderation|flagged|safety (?:system|filter|polic)|invalid_prompt|context.?(?:length|window|size)|(?:maximum|max|longer|exceed\w*|too many)\b.{0,80}\btokens|tokens?\b.{0,80}\b(?:exceed|too (?:long|many))|(?:prompt|input|request)\b.{0,40}\btoo (?:long|large)/is;

function isOfThisItem({ words, code }: Refusal): boolean {
  // the largest answer that is asked for is the same for every item
  const ofAnswer = /max_(?:completion_)?tokens/.test(words) && !/context|input|prompt/i.test(words);
  return !ofAnswer && THIS_ITEM.test(`${words} ${code}`);
}

/** What a failed request means. */
export interface Explained {
  readonly kind: FailureKind;
  readonly reason: string;
  /** Where one request alone does not tell whether all are refused: what to tell the next refusal by */
  readonly doubt?: string;
}

/**
 * @param scrub applied before texts of the server are shortened: half a key is not found any more
 * @param proxy by way of which the server was asked; null without one
 */
export function explain(
  error: unknown,
  { endpoint, model, apiKeyEnv, timeoutMs }: ChatSettings,
  { scrub, proxy }: { scrub: (text: string) => string; proxy: UsedProxy | null },
): Explained {
  const who = `${model} at ${endpoint}${proxy ? ` through the proxy ${proxy.address}` : ''}`;
  if (error instanceof OpenAI.APIUserAbortError) {
    return { kind: 'aborted', reason: `The question to ${who} was aborted.` };
  }
  if (error instanceof OpenAI.APIConnectionTimeoutError) {
    return {
      kind: 'unreachable',
      reason: `${who} did not answer in time, which is ${timeoutMs} ms at most: give it more time, or ask less at once${proxyNote(endpoint, proxy)}.`,
    };
  }
  const refusal = refusalIn(error);
  if (!refusal) {
    return {
      kind: 'unreachable',
      reason: `${who} cannot be reached ${scrub(whyNotReached(error, { endpoint, proxy }))}.`,
    };
  }
  const { status, code, param } = refusal;
  const words = clause(scrub(refusal.words));
  const inside = (error as InstanceType<typeof OpenAI.APIError>).headers?.get(INSIDE);
  const what = inside ? `answered ${inside} with an error` : `answered ${status}`;
  const said = `${who} ${what}${words === '' ? ' without a word' : `: "${words}"`}`;
  if (code.includes('insufficient_quota') || status === 402) {
    return { kind: 'rejected', reason: `${said}; the account has no credit left.` };
  }
  if (status === 413 || ([400, 403, 422].includes(status) && isOfThisItem(refusal))) {
    return { kind: 'declined', reason: `${said}; other items are not concerned.` };
  }
  if (status === 401 || status === 403) {
    return { kind: 'rejected', reason: `${said}; check the key in ${apiKeyEnv}.` };
  }
  if ([408, 409, 425, 429].includes(status) || status >= 500) {
    return { kind: 'unreachable', reason: `${said}; try again later, or ask less at once.` };
  }
  const rightPlace =
    /\/v\d+\w*(?:\/|$)/.test(new URL(endpoint).pathname) || /\bmodel\b/i.test(words);
  const address = rightPlace
    ? ''
    : `; the address ${endpoint} may lack its end: try ${endpoint}/v1`;
  if (status === 404 || status === 405) {
    const advice = address || "; check the model's name and the address";
    return { kind: 'rejected', reason: `${said}${advice}.` };
  }
  const advice = address || "; check the model's name, the parameters and this item's text";
  const doubt = `${status} ${param} ${words.replace(/\d+/g, '#')}`;
  return { kind: 'declined', reason: `${said}${advice}.`, doubt };
}

/** A message of others inside a sentence: one line, not too long. */
function clause(message: string): string {
  const line = message
    .replace(/\s+/g, ' ')
    .trim()
    .replace(/[.:]+$/, '');
  return line.length > 300 ? `${line.slice(0, 300)} ...` : line;
}
