import { isObject } from './json-answers.js';

/** What a server says went wrong, whichever form it says it in. */
export interface ServerError {
  /** '' where it says nothing */
  readonly message: string;
  readonly code?: unknown;
  readonly type?: unknown;
  readonly param?: unknown;
}

/**
 * The error that an answer's body tells of; null for a good answer.
 * @param ok whether the status says that it is one: some servers put errors there too
 */
export function errorIn(text: string, ok: boolean): ServerError | null {
  const body = jsonOf(text);
  if (!isObject(body)) return ok ? null : { message: withoutTags(text) };
  const choice = Array.isArray(body.choices) ? (body.choices[0] as unknown) : undefined;
  const error = body.error ?? (isObject(choice) ? choice.error : undefined);
  if (ok && !error && body.object !== 'error') return null;
  const from = isObject(error) ? error : body;
  const message = error ? wordsOf(error) : wordsOf(body);
  return { message, code: from.code, type: from.type, param: from.param };
}

/** The words of an error: of OpenAI's form, of FastAPI's lists of details, of what a router passes on. */
function wordsOf(error: unknown): string {
  if (typeof error === 'string') return error;
  if (Array.isArray(error)) return error.map(wordsOf).join('; ');
  if (!isObject(error)) return '';
  const { loc, metadata } = error;
  const said = ['message', 'msg', 'detail', 'details', 'error', 'errors', 'reason']
    .map((key) => wordsOf(error[key]))
    .find((words) => words !== '');
  if (said === undefined) return Object.keys(error).length === 0 ? '' : JSON.stringify(error);
  const where = Array.isArray(loc) ? `${loc.join('.')}: ` : '';
  const passedOn = isObject(metadata) ? wordsOf(metadata.raw) : '';
  return passedOn === '' ? `${where}${said}` : `${where}${said} (${passedOn})`;
}

function withoutTags(page: string): string {
  return page.replace(/<(style|script|title)\b.*?<\/\1>|<[^>]*>/gis, ' ').trim();
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}
