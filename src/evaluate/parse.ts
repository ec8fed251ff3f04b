import { jsonObjectsIn, without } from './json-answers.js';
import {
  agreed,
  answerOf,
  fractionsIn,
  type Parsed,
  type ParseOptions,
  plain,
  problem,
  valueAt,
  type Written,
  wholeNumber,
} from './values.js';

export type { Parsed, ParseOptions } from './values.js';

type Found = Written | 'unclear';

/** What may stand between a label and its value. */
const IS = String.raw`\s*(?::|=>?|->|→|\||[-–—](?=\s)|(?<=\s)(?:is|of|was|would be)(?=[\s:])(?:\s*:)?|\n+(?=\s*-?\d))\s*`;
const NOTE = String.raw`(?:\s*\([^()\n]{0,60}\)|\s*\/\s*\d+(?=\s*[:=]))?(?:\s+(?:on|from|between|out of|for)\b[^\n:=]{0,60}(?=\s*[:=]))?`;
const SCORE_LABEL = new RegExp(`(?<![\\p{L}\\p{N}])(?:score|rating)${NOTE}${IS}`, 'giu');
const SCORE_KEY = /^(?:(?:overall|final|total)[_ ]?)?(?:score|rating)$/i;

/**
 * Reads the score of one response. In this order: `{"score": 85}` and labelled values ("Score: 85.5",
 * "**Rating** - 85/100"), which must all agree; "85/100" or "85 out of 100"; an answer that is nothing but a
 * number. The first number of a text is never taken for the score, and none is rescaled or clamped.
 *
 * @returns 0..100
 */
export function parseScore(text: string, options: ParseOptions = {}): Parsed<number> {
  const answer = answerOf(text);
  if (!answer.ok) return answer;
  const objects = jsonObjectsIn(answer.value).filter(({ value }) =>
    Object.keys(value).some((key) => SCORE_KEY.test(key)),
  );
  const found: Found[] = objects.flatMap(({ value, ambiguous }) =>
    Object.entries(value)
      .filter(([key]) => SCORE_KEY.test(key))
      .map(([, score]) => (ambiguous ? 'unclear' : jsonNumber(score))),
  );
  const rest = plain(without(answer.value, objects));
  found.push(...labelled(rest, SCORE_LABEL));
  if (found.length === 0) found.push(...scaled(fractionsIn(rest), options));
  if (found.length === 0) found.push(...present(wholeNumber(rest)));
  return agreed(found, 'score', options);
}

/**
 * Reads the scores of two responses by their labels: `{"A": 80, "B": 70}`, `{"score_a": ...}`, "Response A: 80/100"
 * and the like. Two bare numbers are not read: nothing says which is whose.
 *
 * @returns 0..100 each, in the order of the labels
 */
export function parsePair(
  text: string,
  labels: readonly [string, string],
  options: ParseOptions = {},
): Parsed<readonly [number, number]> {
  const answer = answerOf(text);
  if (!answer.ok) return answer;
  const names = labels.map((label) => label.toLowerCase());
  const objects = jsonObjectsIn(answer.value).filter(({ value }) =>
    names.some((name) => jsonScores(value, name).length > 0),
  );
  const rest = plain(without(answer.value, objects));
  const scores: number[] = [];
  for (const [index, name] of names.entries()) {
    const found: Found[] = objects.flatMap(({ value, ambiguous }) =>
      jsonScores(value, name).map((score): Found => (ambiguous ? 'unclear' : jsonNumber(score))),
    );
    found.push(...labelled(rest, pairLabel(name)));
    const score = agreed(found, `score of ${labels[index]}`, options);
    if (!score.ok) return score;
    scores.push(score.value);
  }
  const [first, second] = scores;
  if (first === undefined || second === undefined) return problem('unparsable', 'No scores.');
  return { ok: true, value: [first, second] };
}

/** The values of an object's keys that name a label, also under "scores", also as `{"score": n}`. */
function jsonScores(value: Readonly<Record<string, unknown>>, name: string): unknown[] {
  return Object.entries(value).flatMap(([key, score]): unknown[] => {
    if (/^(?:scores|ratings)$/i.test(key) && isObject(score)) return jsonScores(score, name);
    if (keyName(key) !== name) return [];
    if (!isObject(score)) return [score];
    return Object.entries(score).flatMap(([inner, n]) => (SCORE_KEY.test(inner) ? [n] : []));
  });
}

function keyName(key: string): string {
  return key
    .toLowerCase()
    .replace(/(?<![a-z])(?:response|answer|assistant|score|rating|of|for)(?![a-z])/g, '')
    .replace(/[^a-z0-9]/g, '');
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** "Response A: 80", "Score A = 80", "A (80 of 100): 80", "Response A - Score: 80", "Score for A: 80". */
function pairLabel(name: string): RegExp {
  const noun = String.raw`(?:(?:response|answer|assistant)s?\s*)?`;
  const score = String.raw`(?:\s*(?:${IS})?(?<![\p{L}\p{N}])(?:score|rating))?`;
  return new RegExp(
    String.raw`(?<![\p{L}\p{N}])${noun}(?<![\p{L}\p{N}])${name}(?![\p{L}\p{N}])${score}${NOTE}${IS}`,
    'giu',
  );
}

/** The value behind each place where the label stands. */
function labelled(text: string, label: RegExp): Found[] {
  return [...text.matchAll(label)].flatMap((match) =>
    present(valueAt(text, match.index + match[0].length)),
  );
}

/** Unlabelled fractions on another scale, such as "8 out of 10 people", say nothing of the score. */
function scaled(found: readonly Found[], { scale = 100 }: ParseOptions): Found[] {
  return found.filter((value) => value === 'unclear' || value.scale === scale);
}

function jsonNumber(value: unknown): Found {
  if (typeof value === 'number') return { number: value, scale: undefined };
  return (typeof value === 'string' && wholeNumber(plain(value))) || 'unclear';
}

function present(value: Found | null): Found[] {
  return value === null ? [] : [value];
}
