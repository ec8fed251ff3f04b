import { isObject, jsonObjectsIn, without } from './json-answers.js';
import {
  agreed,
  answerOf,
  fractionsIn,
  type Parsed,
  type ParseOptions,
  plain,
  scaleIn,
  valueAt,
  type Written,
  wholeNumber,
} from './values.js';

type Found = Written | 'unclear';
type Values = Readonly<Record<string, unknown>>;

/** One number that an answer is to give. */
interface Wanted {
  /** Its values in an object that an answer holds */
  readonly valuesIn: (object: Values) => Found[];
  /** What stands before it in prose */
  readonly label: RegExp;
}

/** What may stand between a label and its value; a note may name the scale. */
const IS = String.raw`\s*(?::|=>?|->|→|\||[-–—](?=\s)|(?<=\s)(?:is|of|was|would be)(?=[\s:])(?:\s*:)?|\n+(?=\s*-?\d))\s*`;
const NOTE = String.raw`(?<note>(?:\s*\([^()\n]{0,60}\)|\s*\/\s*\d+(?=\s*[:=]))?(?:\s+(?:on|from|between|out of|for)\b[^\n:=]{0,60}(?=\s*[:=]))?)`;
const SCORE_KEY = /^(?:(?:overall|final|total)[_ ]?)?(?:score|rating)$/i;
const SCALE_KEY = /^(?:scale|range|out[_ ]?of|max(?:imum)?(?:[_ ]?(?:score|rating))?)$/i;

const SCORE: Wanted = {
  valuesIn: (object) => scoresIn(object, (key) => SCORE_KEY.test(key)),
  label: new RegExp(`(?<![\\p{L}\\p{N}])(?:score|rating|grade|verdict)${NOTE}${IS}`, 'giu'),
};

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
  const { found, rest } = read(answer.value, SCORE);
  // unlabelled fractions on another scale, such as "8 out of 10 people", say nothing of the score
  const { scale = 100 } = options;
  const fits = (value: Found) => value === 'unclear' || value.scale === scale;
  if (found.length === 0) found.push(...fractionsIn(rest).filter(fits));
  if (found.length === 0) found.push(...[wholeNumber(rest)].filter((value) => value !== null));
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
  const scoreOf = (label: string) =>
    agreed(read(answer.value, pairWanted(label)).found, `score of ${label}`, options);
  const [first, second] = [scoreOf(labels[0]), scoreOf(labels[1])];
  if (!first.ok) return first;
  return second.ok ? { ok: true, value: [first.value, second.value] } : second;
}

/** All statements of a number, in JSON and in prose, and the prose. */
function read(answer: string, { valuesIn, label }: Wanted): { found: Found[]; rest: string } {
  const objects = jsonObjectsIn(answer).filter(({ value }) => valuesIn(value).length > 0);
  const rest = plain(without(answer, objects));
  const inJson = objects.flatMap(({ value, ambiguous }): Found[] =>
    ambiguous ? ['unclear'] : valuesIn(value),
  );
  const inProse = [...rest.matchAll(label)].map((match) =>
    valueAt(rest, match.index + match[0].length, scaleIn(match.groups!.note!)),
  );
  return { found: [...inJson, ...inProse.filter((value) => value !== null)], rest };
}

/** "Response A: 80", "Score A = 80", "A (80 of 100): 80", "Response A - Score: 80", "Score for A: 80". */
function pairWanted(label: string): Wanted {
  const name = label.toLowerCase();
  const noun = String.raw`(?:(?:response|answer|assistant)s?\s*)?`;
  const score = String.raw`(?:\s*(?:${IS})?(?<![\p{L}\p{N}])(?:score|rating))?`;
  return {
    valuesIn: (object) => pairScoresIn(object, name),
    label: new RegExp(
      String.raw`(?<![\p{L}\p{N}])${noun}(?<![\p{L}\p{N}])${name}(?![\p{L}\p{N}])${score}${NOTE}${IS}`,
      'giu',
    ),
  };
}

/** The values of the keys that name a label, also under "scores", also as `{"score": n}`. */
function pairScoresIn(object: Values, name: string): Found[] {
  return Object.entries(object).flatMap(([key, part]): Found[] => {
    if (isObject(part) && /^(?:scores|ratings)$/i.test(key)) return pairScoresIn(part, name);
    if (keyName(key) !== name) return [];
    return isObject(part) ? SCORE.valuesIn(part) : scoresIn(object, (other) => other === key);
  });
}

function keyName(key: string): string {
  return key
    .toLowerCase()
    .replace(/(?<![a-z])(?:response|answer|assistant|score|rating|of|for)(?![a-z])/g, '')
    .replace(/[^a-z0-9]/g, '');
}

/** The numbers of an object's keys, on the scale that another of its keys may name. */
function scoresIn(object: Values, isKey: (key: string) => boolean): Found[] {
  const named = Object.entries(object).find(([key]) => SCALE_KEY.test(key))?.[1];
  const scale = named === undefined ? undefined : (scaleIn(String(named)) ?? Number.NaN);
  return Object.entries(object)
    .filter(([key]) => isKey(key))
    .map(([, value]): Found => {
      if (typeof value === 'number') return { number: value, scale };
      return (typeof value === 'string' && wholeNumber(plain(value), scale)) || 'unclear';
    });
}
