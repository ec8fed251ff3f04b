import { findDuplicateKey } from '../checkpoint/json-file.js';

/** A JSON object inside a text, from `start` to before `stop`. */
export interface EmbeddedJson {
  readonly start: number;
  readonly stop: number;
  readonly value: Readonly<Record<string, unknown>>;
  /** The same key stands twice in one of its objects: its meaning is not defined */
  readonly ambiguous: boolean;
}

/** How many opening braces of a text are tried. */
const MAX_TRIES = 100;

/** The outermost JSON objects of a text, fenced or not. */
export function jsonObjectsIn(text: string): EmbeddedJson[] {
  const found: EmbeddedJson[] = [];
  let start = text.indexOf('{');
  for (let tries = 0; start >= 0 && tries < MAX_TRIES; tries++) {
    const stop = closingBrace(text, start);
    const object = stop === null ? null : parsed(text.slice(start, stop));
    if (object) found.push({ start, stop: stop!, ...object });
    start = text.indexOf('{', object ? stop! : start + 1);
  }
  return found;
}

/** The text with the given objects cut out. */
export function without(text: string, objects: readonly EmbeddedJson[]): string {
  let rest = '';
  let from = 0;
  for (const { start, stop } of objects) {
    rest += `${text.slice(from, start)}\n`;
    from = stop;
  }
  return rest + text.slice(from);
}

function parsed(json: string): Pick<EmbeddedJson, 'value' | 'ambiguous'> | null {
  try {
    const value = JSON.parse(json) as Readonly<Record<string, unknown>>;
    return { value, ambiguous: findDuplicateKey(json) !== null };
  } catch {
    return null;
  }
}

/** Behind the brace that closes the one at `start`; null where none does. */
function closingBrace(text: string, start: number): number | null {
  let depth = 0;
  let quoted = false;
  for (let at = start; at < text.length; at++) {
    const character = text[at];
    if (quoted && character === '\\') at++;
    else if (character === '"') quoted = !quoted;
    else if (!quoted && character === '{') depth++;
    else if (!quoted && character === '}' && --depth === 0) return at + 1;
  }
  return null;
}

export function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
