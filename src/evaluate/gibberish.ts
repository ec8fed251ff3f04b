/**
 * The name of this filter, with its version: raised when a rule or a threshold changes. The paper drops queries whose
 * base response is gibberish from its "refined" results, and gives no rule; this is ours.
 */
export const GIBBERISH_FILTER = 'sda-gibberish-2';

/** A loop has at least so many characters ... */
const LEAST_LOOP = 40;
/** ... that make up at least this share of the text ... */
const LOOP_SHARE = 0.4;
/** ... and its pattern comes five times, the last of which may be cut short; a long pattern, four times. */
const LEAST_TURNS = 4.5;
const LEAST_LONG_TURNS = 3.5;
const LONG_PATTERN = 80;
const LONGEST_PATTERN = 1000;
/** Rules, rows of empty cells, zeros: no loop up to this length. */
const LAYOUT = /^[\d\s|=_*~.,:;+#'()[\]{}\u2500-\u259F-]+$/;
const LONGEST_LAYOUT = 300;

/** Of what is no space, where a character repeated in a row counts once. Regular expressions have about 0.15. */
const LEAST_MEANING = 0.1;
const MOST_DAMAGED = 0.02;
const LONGEST_WORD = 120;

/** One sentence, so many times, that makes up at least this share of the text. */
const MOST_TIMES = 7;
const SENTENCE_SHARE = 0.5;
/** In bytes of UTF-8: long enough to be a sentence, in Chinese as in English, and no "True" or "Not applicable". */
const LEAST_SENTENCE = 15;

const LEAST_WORDS = 100;
const MOST_WORDS = 5000;
/** Different words over words; prose, code and tables have 0.1 and more. */
const LEAST_VARIETY = 0.04;

/**
 * Whether a response is gibberish: no word or symbol at all, damaged characters, hardly a letter, a pattern or a
 * sentence repeated over and over, a handful of words shuffled, or one endless word. It judges form only: a false,
 * short, or pointless answer is none, and neither is a salad of many words, which by form alone looks like code.
 *
 * @returns the reason, a phrase; null where the text is none
 */
export function gibberishReason(text: string): string | null {
  const dense = text.replace(/\s+/g, '');
  const brackets = /^(?:\[\]|\{\}|\(\))$/.test(dense); // an empty list is an answer
  if (!brackets && !/[\p{L}\p{N}\p{Sm}\p{Sc}\p{So}]/u.test(dense.replaceAll('\uFFFD', ''))) {
    return 'it has no word';
  }
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  const damaged = dense.match(/[\uFFFD\u0000-\u001F\u007F-\u009F]/g)?.length ?? 0;
  if (damaged >= 3 && damaged > MOST_DAMAGED * dense.length) return 'it has damaged characters';
  if (hasHardlyALetter(dense)) return 'it has hardly a letter';
  const trimmed = text.trim();
  const end = endOfLoop(trimmed);
  if (end !== null) {
    return end === trimmed.length ? 'it repeats itself to the end' : 'it repeats itself';
  }
  if (repeatsASentence(text)) return 'it repeats a sentence over and over';
  if (hasFewWords(text)) return 'it has a handful of words over and over';
  // Only scripts with capitals: all of them put spaces between words
  const endless = text.match(/[\p{Ll}\p{Lu}\p{M}]+/gu)?.find(isEndless);
  if (endless && endless.length > dense.length / 2) return 'it is one endless word';
  return null;
}

function hasHardlyALetter(dense: string): boolean {
  const characters = [...dense.replace(/(.)\1+/gu, '$1')];
  const meaning = characters.filter((each) => /[\p{L}\p{M}\p{N}\p{So}]/u.test(each)).length;
  return characters.length >= 20 && meaning < LEAST_MEANING * characters.length;
}

/** Where a loop ends that makes up much of the text; null where there is none. */
function endOfLoop(text: string): number | null {
  const least = Math.max(LEAST_LOOP, LOOP_SHARE * text.length);
  // A loop of `least` characters has more than `stride` that equal the one a period before: one of them is probed
  const stride = Math.floor(least * (1 - 1 / LEAST_LONG_TURNS));
  const longest = Math.min(LONGEST_PATTERN, text.length / LEAST_LONG_TURNS);
  for (let period = 1; period <= longest; period++) {
    const turns = period < LONG_PATTERN ? LEAST_TURNS : LEAST_LONG_TURNS;
    const same = (at: number) => text[at] === text[at - period];
    for (let probe = stride; probe < text.length; probe += stride) {
      if (probe < period || !same(probe)) continue;
      let [start, end] = [probe, probe + 1];
      while (start > period && same(start - 1)) start--;
      while (end < text.length && same(end)) end++;
      const length = end - start + period;
      if (length < Math.max(least, turns * period)) continue;
      const isLayout = LAYOUT.test(text.slice(end - period, end)) && length <= LONGEST_LAYOUT;
      if (!isLayout) return end;
    }
  }
  return null;
}

function repeatsASentence(text: string): boolean {
  const times = new Map<string, number>();
  for (const sentence of text.split(/[\n.!?。！？।]+/)) {
    // "Step 12: Breathe" and "13) Breathe" are the same sentence
    const said = sentence.replace(/^[^\p{L}\p{N}]*(?:(?:\p{L}+ )?\d+[:)])?[^\p{L}\p{N}]*/u, '');
    times.set(said, (times.get(said) ?? 0) + 1);
  }
  const whole = sizeOfLetters(text);
  return [...times].some(([said, count]) => {
    if (count < MOST_TIMES) return false;
    const size = sizeOfLetters(said);
    return size >= LEAST_SENTENCE && count * size >= SENTENCE_SHARE * whole;
  });
}

function sizeOfLetters(text: string): number {
  return Buffer.byteLength(text.replace(/[^\p{L}\p{M}]+/gu, ''));
}

function hasFewWords(text: string): boolean {
  const words = (text.match(/[\p{L}\p{M}\p{N}]+/gu) ?? []).slice(0, MOST_WORDS);
  const inLetters = words.filter((word) => /\p{L}/u.test(word)).length;
  if (words.length < LEAST_WORDS || inLetters < words.length / 2) return false;
  return new Set(words).size < LEAST_VARIETY * words.length;
}

/** Capitals alone may be a code, such as that of a protein. */
function isEndless(word: string): boolean {
  return word.length > LONGEST_WORD && /\p{Ll}/u.test(word);
}
