import { z } from 'zod';
import { precompiledNormalizer } from './precompiled.js';

// What `@huggingface/tokenizers` does otherwise than the Rust library, and cannot be told in its settings.

const BEHAVIORS = [
  'removed',
  'isolated',
  'mergedwithprevious',
  'mergedwithnext',
  'contiguous',
] as const;
/** What becomes of the text that a Split or Punctuation matches; the names are those of the Rust library. */
type Behavior = (typeof BEHAVIORS)[number];

/** The same as a file has it, in letters of any case. */
export const behavior = z.string().toLowerCase().pipe(z.enum(BEHAVIORS));

/** A normalizer of `@huggingface/tokenizers`; a Sequence has others inside. */
export interface Normalizer {
  (text: string): string;
  readonly normalizers?: readonly (Normalizer | null)[];
  readonly config?: Readonly<Record<string, unknown>>;
  normalize(text: string): string;
}

/**
 * Gives the normalizers that JavaScript sees otherwise the results of the Rust library: Lowercase looks at each
 * character by itself, Prepend leaves an empty text alone, Precompiled takes its table.
 * @throws SdaError `bad-tokenizer` for a table that is none
 */
export function correctNormalizers(step: Normalizer | null, file: string): void {
  if (step === null) return;
  for (const inner of step.normalizers ?? []) correctNormalizers(inner, file);
  const { type, prepend, precompiled_charsmap } = step.config ?? {};
  if (type === 'Lowercase') {
    step.normalize = (text) => Array.from(text, (one) => one.toLowerCase()).join('');
  }
  if (type === 'Prepend') step.normalize = (text) => (text === '' ? '' : `${prepend}${text}`);
  if (type === 'Precompiled') step.normalize = precompiledNormalizer(precompiled_charsmap, file);
}

/** A pre-tokenizer of `@huggingface/tokenizers`; a Sequence has others inside. */
export interface PreTokenizer {
  (text: string, options: { readonly section_index: number }): string[];
  readonly tokenizers?: readonly (PreTokenizer | null)[];
  readonly config?: { readonly type?: unknown; readonly behavior?: unknown; invert?: unknown };
  pattern?: RegExp | null;
  pre_tokenize_text(text: string): string[];
}

/** ByteLevel's words, with white space as Unicode has it and not as JavaScript. */
const BYTE_LEVEL_WORDS =
  /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\p{White_Space}\p{L}\p{N}]+|\p{White_Space}+(?!\P{White_Space})|\p{White_Space}+/gu;

/**
 * Gives every Split its behavior and `invert`, and ByteLevel its pattern; the library knows Isolated and Removed only,
 * and only some of `invert`.
 */
export function correctPreTokenizers(step: PreTokenizer | null): void {
  if (step === null) return;
  for (const inner of step.tokenizers ?? []) correctPreTokenizers(inner);
  if (step.config?.type === 'ByteLevel') step.pattern = BYTE_LEVEL_WORDS;
  const { config, pattern: matched } = step;
  if (config?.type !== 'Split' || !matched) return;
  const how = behavior.parse(config.behavior);
  const inverted = config.invert === true;
  step.pre_tokenize_text = (text) =>
    merged(partsOf(text, matched, inverted), how)
      .map(({ start, end }) => text.slice(start, end))
      .filter((piece) => piece !== '');
}

/** A part of a text that the pattern matches, or one between two of them. */
interface Part {
  readonly start: number;
  readonly end: number;
  readonly matches: boolean;
}

function partsOf(text: string, matched: RegExp, inverted: boolean): Part[] {
  const parts: Part[] = [];
  let end = 0;
  for (const match of text.matchAll(matched)) {
    const start = match.index;
    // as the Rust library, none that is empty right after another
    if (match[0] === '' && start === end && parts.length > 0) continue;
    if (end < start) parts.push({ start: end, end: start, matches: inverted });
    end = start + match[0].length;
    parts.push({ start, end, matches: !inverted });
  }
  if (end < text.length) parts.push({ start: end, end: text.length, matches: inverted });
  return parts;
}

function merged(parts: readonly Part[], how: Behavior): readonly Part[] {
  switch (how) {
    case 'removed':
      return parts.filter(({ matches }) => !matches);
    case 'isolated':
      return parts;
    case 'contiguous':
      return joined(parts, (part, before) => part.matches === before.matches);
    case 'mergedwithprevious':
      return joined(parts, (part, before) => part.matches && !before.matches);
    case 'mergedwithnext':
      return joined(parts, (part, before) => !part.matches && before.matches);
  }
}

/** The parts, those that belong to the part before them joined with it. */
function joined(
  parts: readonly Part[],
  belongs: (part: Part, before: Part) => boolean,
): readonly Part[] {
  const result: Part[] = [];
  for (const [i, part] of parts.entries()) {
    const before = parts[i - 1];
    const last = before && belongs(part, before) ? result.pop() : undefined;
    result.push({ ...part, start: last?.start ?? part.start });
  }
  return result;
}
