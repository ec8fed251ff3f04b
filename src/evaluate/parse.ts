import { asStructured, isObject, type JsonObject, splitJson } from './json-answers.js';
import { PAIR_ANSWER, PAIR_LABELS, type PairLabel, SCORE_ANSWER } from './rubrics.js';
import {
  agreed,
  answerOf,
  type Found,
  fractionsIn,
  type Parsed,
  plain,
  SCALE,
  scaleIn,
  valueAt,
  wholeNumber,
} from './values.js';

/** One number that an answer is to give. */
interface Wanted {
  /** Its values in an object that an answer holds */
  readonly valuesIn: (object: JsonObject) => Found[];
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
 * Reads the score of one response. In this order: an answer that is as its schema asks, `{"score": 85}`; such an object
 * inside a text and labelled values ("Score: 85.5", "**Rating** - 85/100"), which must all agree; "85/100" or "85 out
 * of 100"; an answer that is nothing but a number. The first number of a text is never taken for the score, and none
 * is rescaled or clamped.
 *
 * @returns 0..100
 */
export function parseScore(text: string): Parsed<number> {
  const given = asStructured(text, SCORE_ANSWER);
  if (given) return agreed([{ number: given.score }], 'score');
  const answer = answerOf(text);
  if (!answer.ok) return answer;
  const { found, prose } = read(answer.value, SCORE);
  // unlabelled fractions on another scale, such as "8 out of 10 people", say nothing of the score
  const fits = (value: Found) => value === 'unclear' || value.scale === SCALE;
  if (found.length === 0) found.push(...fractionsIn(prose).filter(fits));
  if (found.length === 0) found.push(...[wholeNumber(prose)].filter((value) => value !== null));
  return agreed(found, 'score');
}

/**
 * Reads the scores of the responses A and B: `{"A": 80, "B": 70}`; such objects inside a text and with other names of
 * the two (`{"score_a": ...}`), and labelled values ("Response A: 80/100"). Two bare numbers are not read: nothing says
 * which is whose.
 *
 * @returns 0..100 each, of A and of B
 */
export function parsePair(text: string): Parsed<readonly [number, number]> {
  const given = asStructured(text, PAIR_ANSWER);
  if (given) return both((label) => [{ number: given[label] }]);
  const answer = answerOf(text);
  return answer.ok ? both((label) => read(answer.value, pairWanted(label)).found) : answer;
}

function both(foundFor: (label: PairLabel) => readonly Found[]): Parsed<readonly [number, number]> {
  const [a, b] = PAIR_LABELS.map((label) => agreed(foundFor(label), `score of ${label}`));
  if (!a!.ok) return a!;
  return b!.ok ? { ok: true, value: [a!.value, b!.value] } : b!;
}

/** All statements of a number, in JSON and in prose, and the prose. */
function read(answer: string, { valuesIn, label }: Wanted): { found: Found[]; prose: string } {
  const split = splitJson(answer);
  const inJson = split.object ? valuesIn(split.object) : [];
  const prose = plain(inJson.length > 0 ? split.prose : answer);
  const inProse = [...prose.matchAll(label)].map((match) =>
    valueAt(prose, match.index + match[0].length, scaleIn(match.groups!.note!)),
  );
  const found = split.ambiguous ? inJson.map(() => 'unclear' as const) : inJson;
  return { found: [...found, ...inProse.filter((value) => value !== null)], prose };
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
function pairScoresIn(object: JsonObject, name: string): Found[] {
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
function scoresIn(object: JsonObject, isKey: (key: string) => boolean): Found[] {
  const named = Object.entries(object).find(([key]) => SCALE_KEY.test(key))?.[1];
  const scale = named === undefined ? undefined : (scaleIn(String(named)) ?? Number.NaN);
  return Object.entries(object)
    .filter(([key]) => isKey(key))
    .map(([, value]): Found => {
      if (typeof value === 'number') return { number: value, scale };
      return (typeof value === 'string' && wholeNumber(plain(value), scale)) || 'unclear';
    });
}
