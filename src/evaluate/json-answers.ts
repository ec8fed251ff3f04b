import { jsonrepair } from 'jsonrepair';
import type { z } from 'zod';
import { findDuplicateKey } from '../checkpoint/json-file.js';

export type JsonObject = Readonly<Record<string, unknown>>;

/** What a text says as JSON, and the prose around that. */
export interface SplitText {
  readonly object: JsonObject | null;
  /** The same key stands twice in one of its objects: its meaning is not defined */
  readonly ambiguous: boolean;
  readonly prose: string;
}

/** A text that is one JSON value and as `schema` has it; null for any other. */
export function asStructured<T>(text: string, schema: z.ZodType<T>): T | null {
  const value = parsed(text);
  return value === undefined || findDuplicateKey(text) !== null
    ? null
    : (schema.safeParse(value).data ?? null);
}

/** Takes the JSON object out of a text, fenced or not, repaired where it is nearly one; all is prose where there is none. */
export function splitJson(text: string): SplitText {
  const [start, stop] = [text.indexOf('{'), text.lastIndexOf('}') + 1];
  const source = start < 0 ? '' : text.slice(start, stop);
  const json = parsed(source) === undefined ? repaired(source) : source;
  const object = parsed(json);
  if (!isObject(object)) return { object: null, ambiguous: false, prose: text };
  const prose = `${text.slice(0, start)}\n${text.slice(stop)}`;
  return { object, ambiguous: findDuplicateKey(json) !== null, prose };
}

/** A longer text is not repaired: with many quotes that takes the time of its length squared. */
const MAX_REPAIR = 2_000;

/** '' where a repair would add or drop a letter, a digit or a sign, such as those of a comment: that would be a guess. */
function repaired(source: string): string {
  if (source.length > MAX_REPAIR || !/^\{\s*["'“‘\w]/.test(source)) return '';
  try {
    const json = jsonrepair(source);
    return written(json) === written(source) ? json : '';
  } catch {
    return '';
  }
}

function written(json: string): string {
  return json.replace(/\\./gs, '').replace(/[^\p{L}\p{N}+-]/gu, '');
}

function parsed(json: string): unknown {
  try {
    return JSON.parse(json) as unknown;
  } catch {
    return undefined;
  }
}

export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
