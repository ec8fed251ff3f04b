import { deflateSync } from 'node:zlib';

/**
 * The name of this filter, with its version: raised when a threshold changes. The paper drops queries whose base
 * response is gibberish from its "refined" results, and gives no rule; this is ours.
 */
export const GIBBERISH_FILTER = 'sda-gibberish-1';

/** The least length, in characters, at which repetition says something. */
const LEAST_LOOP = 40;
/** A loop is a pattern at least so many times in a row, up to the end of the text ... */
const LEAST_TURNS = 4;
/** ... that makes up at least this share of it. */
const LOOP_SHARE = 0.4;
const LONGEST_PATTERN = 300;
/** Length over length when compressed; prose has about 2, lists and code up to 4. */
const MOST_COMPRESSION = 5;
const LEAST_COMPRESSED = 240;
/** Of what is no space. Code and tables have more letters, digits and pictographs than that. */
const LEAST_MEANING = 0.2;
const MOST_DAMAGED = 0.02;
const LONGEST_WORD = 120;

/**
 * Whether a response is gibberish: no words at all, damaged characters, hardly a letter, a pattern repeated over and
 * over, or one endless word. It judges form only: a false, short, or pointless answer is none.
 *
 * @returns the reason, a phrase; null where the text is none
 */
export function gibberishReason(text: string): string | null {
  const dense = text.replace(/\s+/g, '');
  const meaning = dense.match(/[\p{L}\p{N}\p{Extended_Pictographic}]/gu)?.length ?? 0;
  if (meaning === 0) return 'it has no word';
  const characters = [...dense].length;
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  const damaged = dense.match(/[\uFFFD\u0000-\u001F\u007F\u0080-\u009F]/g)?.length ?? 0;
  if (damaged >= 3 && damaged > MOST_DAMAGED * characters) return 'it has damaged characters';
  if (characters >= 20 && meaning < LEAST_MEANING * characters) return 'it has hardly a letter';
  if (loopsAtEnd(text.trim())) return 'it repeats itself to the end';
  if (compression(text) > MOST_COMPRESSION) return 'it repeats itself';
  const endless = text.split(/\s+/).find((word) => word.length > LONGEST_WORD && isWord(word));
  if (endless !== undefined && endless.length > characters / 2) return 'it is one endless word';
  return null;
}

/** Whether a pattern is repeated up to the end, which may cut the last turn short. */
function loopsAtEnd(text: string): boolean {
  const least = Math.max(LEAST_LOOP, LOOP_SHARE * text.length);
  if (text.length < least) return false;
  for (let period = 1; period <= Math.min(LONGEST_PATTERN, text.length / LEAST_TURNS); period++) {
    let start = text.length - 1;
    while (start >= period && text[start] === text[start - period]) start--;
    const repeated = text.length - 1 - start + period;
    if (repeated >= Math.max(least, LEAST_TURNS * period)) return true;
  }
  return false;
}

function compression(text: string): number {
  const bytes = Buffer.from(text);
  return bytes.length < LEAST_COMPRESSED ? 1 : bytes.length / deflateSync(bytes).length;
}

/** Not an address, and of a script that puts spaces between words. */
function isWord(word: string): boolean {
  return (
    !/:\/\/|^www\./.test(word) &&
    !/[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}\p{Script=Lao}\p{Script=Khmer}\p{Script=Myanmar}]/u.test(
      word,
    )
  );
}
