import { z } from 'zod';
import { asStructured } from './json-answers.js';
import type { FailureKind } from './types.js';

/** What was read from an answer, or why nothing was. */
export type Parsed<T> =
  | { readonly ok: true; readonly value: T }
  | {
      readonly ok: false;
      readonly kind: Extract<FailureKind, 'unparsable' | 'out-of-range' | 'refused'>;
      readonly reason: string;
    };

/** The best score of the scale that is asked for. */
export const SCALE = 100;

type Problem = Extract<Parsed<never>, { ok: false }>;

export function problem(kind: Problem['kind'], reason: string): Problem {
  return { ok: false, kind, reason };
}

/** Longer answers are not searched for a score. */
const MAX_ANSWER = 20_000;

/** How models mark what they think, by the names of the tags and by what opens and ends it elsewhere. */
const THINKING =
  '(?:seed:)?(?:think(?:ing)?|thoughts?|reason(?:ing)?|reflection|analysis|scratchpad)';
const OPEN = new RegExp(
  String.raw`<${THINKING}>|\[THINK\]|◁think▷|<\|channel\|>\s*(?:analysis|commentary)`,
  'i',
);
const CLOSE = new RegExp(
  String.raw`<\/${THINKING}>|\[\/THINK\]|◁\/think▷|<\|channel\|>\s*final\s*<\|message\|>`,
  'gi',
);

/** The answer of a reasoning model without its thinking; one that is JSON and no more is taken as it stands. */
export function answerOf(text: string): Parsed<string> {
  const whole = text.trim();
  if (whole.length <= MAX_ANSWER && asStructured(whole, z.looseObject({}))) {
    return { ok: true, value: whole };
  }
  const answer = text.split(CLOSE).at(-1)!.trim();
  if (OPEN.test(answer)) {
    return problem('unparsable', 'The answer ends inside its thinking.');
  }
  if (answer === '') return problem('unparsable', 'The answer is empty.');
  if (answer.length > MAX_ANSWER) {
    return problem('unparsable', `The answer has more than ${MAX_ANSWER} characters.`);
  }
  if (answer.split('{').length > answer.split('}').length) {
    return problem('unparsable', 'The answer breaks off inside its JSON.');
  }
  if (REFUSAL.test(answer.replaceAll('’', "'"))) {
    return problem('refused', 'The model declines to judge.');
  }
  return { ok: true, value: answer };
}

/** The judge's own refusal, at the start of its answer: what it reports of a response is none. */
const REFUSAL =
  /^\W*(?:(?:i'm|i am|we're|we are)?\s*(?:so |very )?(?:sorry|afraid)|(?:my )?apologies|i apologi[sz]e|unfortunately|as an ai[^.,\n]{0,40})?[,.;:!\s]*(?:but|that|however)?[,\s]*(?:i|we)(?:'m| am|'re| are| must| will| have to)?\s*(?:can't|can ?not|won't|will not|unable|not able|not comfortable|do not feel comfortable|don't feel comfortable|decline|refuse)\b[^.\n]{0,60}?(?:rat(?:e|ing)|scor(?:e|ing)|evaluat|judg|assess|grad(?:e|ing)|rank|assist|help|comply|provid|fulfil|compar|do that|do this)/i;

/** Letters of full width as ASCII, without emphasis, quotes and brackets around values. */
export function plain(text: string): string {
  return text
    .replace(/[\uff01-\uff5e]/g, (letter) => String.fromCharCode(letter.charCodeAt(0) - 0xfee0))
    .replaceAll('\u2212', '-')
    .replace(/<\/?(?:b|i|em|strong|score|rating|p|br)\s*\/?>/gi, ' ')
    .replace(/\\(?:boxed|text|textbf)\{([^{}]*)\}/g, '$1')
    .replace(/[*`"'“”‘’$[\]{}]/g, '')
    .replaceAll('_', ' ');
}

const NUMBER = String.raw`(?<number>-?\d+(?:[.,]\d+)*)`;
const UNIT = String.raw`(?:\s*(?:%|percent\b|points?\b|pts?\b))?`;
const OUT_OF = String.raw`(?:\s*\(?\s*(?:\/|out of|of)\s*(?:a (?:possible|maximum|total) )?(?<scale>\d+(?:[.,]\d+)?))`;
/** No further digit, letter, question, fraction, sum, or end of a range or list follows. */
const END = String.raw`(?![\p{L}\p{N}_]|[.,]\d|\s*[?\/\u2044]|\s*[-–—~]\s*\d|\s*\+|[ \t]+\d|\s*(?:to|or|and)\s+\d|\s*,\s*\d)`;
const VALUE = new RegExp(`${NUMBER}${UNIT}${OUT_OF}?${END}`, 'iuy');
const FRACTION = new RegExp(
  String.raw`(?<![\p{L}\p{N}_.,\/]|\d\s*[-–—~]\s*|\d\s+(?:to|or|and)\s+)${NUMBER}${OUT_OF}${END}`,
  'giu',
);
const ALONE = new RegExp(`^${NUMBER}${UNIT}${OUT_OF}?[.!\\s]*$`, 'iu');

/** A number as written, with its own scale where it names one. */
export interface Written {
  readonly number: number;
  readonly scale?: number | undefined;
}
export type Found = Written | 'unclear';

/** The last number of a text on a scale, such as 10 of "1 to 10" and "out of 10". */
export function scaleIn(text: string): number | undefined {
  const last = text.match(/\d+(?:[.,]\d+)*/g)?.at(-1);
  return last === undefined ? undefined : numberOf(last);
}

/**
 * The number written at `at`; null where another text stands there; 'unclear' for a range, a list, 7.5.2, "3 errors".
 * @param scale where the number names none
 */
export function valueAt(text: string, at: number, scale?: number): Found | null {
  VALUE.lastIndex = at;
  const match = VALUE.exec(text);
  if (!match) return /^-?\s*[.,]?\d/.test(text.slice(at, at + 8)) ? 'unclear' : null;
  const next = text.slice(VALUE.lastIndex, VALUE.lastIndex + 20);
  return match.groups!.scale === undefined && COUNTED.test(next)
    ? 'unclear'
    : written(match, scale);
}

/** A word that says what was counted, rather than one that goes on with the sentence. */
const COUNTED =
  /^[ \t]+(?!(?:because|since|as|for|with|due|given|and|und|but|while|whereas|versus|vs|on|in|overall)\b)\p{Ll}/u;

/** All of "85/100" and "85 out of 100" in a text. */
export function fractionsIn(text: string): Found[] {
  return [...text.matchAll(FRACTION)].map((match) => written(match));
}

/** The number that the whole text is; `scale` as in `valueAt`. */
export function wholeNumber(text: string, scale?: number): Found | null {
  const match = ALONE.exec(text.trim());
  return match && written(match, scale);
}

function written({ groups }: RegExpMatchArray, otherwise?: number): Found {
  const number = numberOf(groups!.number!);
  const scale = groups!.scale === undefined ? otherwise : numberOf(groups!.scale);
  return Number.isNaN(number) ? 'unclear' : { number, scale };
}

/** 85.5; 85,5; 1,000 with three digits behind the comma is a thousand; NaN for anything else. */
function numberOf(text: string): number {
  if (/^-?\d{1,3}(?:,\d{3})+(?:\.\d+)?$/.test(text)) return Number(text.replaceAll(',', ''));
  return /^-?\d+(?:[.,]\d+)?$/.test(text) ? Number(text.replace(',', '.')) : Number.NaN;
}

/** One score of several statements of it: they must be clear, agree, and lie on the scale. */
export function agreed(found: readonly Found[], what: string): Parsed<number> {
  const numbers = new Set<number>();
  for (const value of found) {
    if (value === 'unclear') return problem('unparsable', `The ${what} is not one plain number.`);
    const { number, scale = SCALE } = value;
    if (Number.isNaN(scale)) return problem('unparsable', `The ${what} has no clear scale.`);
    if (scale !== SCALE) {
      return problem('unparsable', `The ${what} is given out of ${scale}, not out of ${SCALE}.`);
    }
    numbers.add(number);
  }
  const [number, ...others] = numbers;
  if (number === undefined) return problem('unparsable', `The answer gives no ${what}.`);
  if (others.length > 0) {
    const several = [number, ...others].slice(0, 5).join(', ');
    return problem('unparsable', `The answer gives several values of the ${what}: ${several}.`);
  }
  if (number >= 0 && number <= SCALE) return { ok: true, value: number + 0 };
  return problem('out-of-range', `The ${what} is ${number}, not within 0..${SCALE}.`);
}
