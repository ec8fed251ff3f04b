import { z } from 'zod';
import { describeIssues } from '../checkpoint/json-file.js';
import { SdaError } from '../errors.js';
import { timeFor, withinTime } from './limits.js';
import { portablePattern } from './patterns.js';

const BEHAVIORS = [
  'removed',
  'isolated',
  'mergedwithprevious',
  'mergedwithnext',
  'contiguous',
] as const;
/** What becomes of the text that a Split or Punctuation matches; the names are those of the Rust library. */
type Behavior = (typeof BEHAVIORS)[number];

const pattern = z.union([z.object({ String: z.string() }), z.object({ Regex: z.string() })]);
const behavior = z.string().toLowerCase().pipe(z.enum(BEHAVIORS));
const SCHEMAS: Readonly<Record<string, z.ZodType>> = {
  Replace: z.object({ pattern }),
  Split: z.object({ pattern, behavior, invert: z.boolean().default(false) }),
  Punctuation: z.object({ behavior: behavior.optional() }),
};

/**
 * Checks the steps of a "normalizer" or "pre_tokenizer" that the library would skip or take for others.
 * @throws SdaError `bad-tokenizer` that names the file and the step
 */
export function checkSteps(steps: readonly unknown[], file: string): void {
  for (const step of steps) {
    if (typeof step !== 'object' || step === null) continue;
    const { type, normalizers, pretokenizers } = step as Record<string, unknown>;
    for (const inner of [normalizers, pretokenizers]) {
      if (Array.isArray(inner)) checkSteps(inner, file);
    }
    const known = typeof type === 'string' && Object.hasOwn(SCHEMAS, type);
    const parsed = known ? SCHEMAS[type]?.safeParse(step) : undefined;
    if (!parsed || parsed.success) continue;
    throw new SdaError(
      'bad-tokenizer',
      `${file} has a malformed ${type} (${describeIssues(parsed.error)}); download it again.`,
    );
  }
}

/** Characters of Punctuation: Unicode's category P, and all of ASCII that is neither letter nor digit. */
const PUNCTUATION = '[\\p{P}$+<=>\\^`|~]';

/**
 * Steps that JavaScript can run. Digits and Punctuation become the Split that they are in the Rust library, which
 * knows digits such as \u00bd and \u2167 and what becomes of punctuation.
 * @throws UnsupportedPattern
 */
export function portableSteps(step: unknown): unknown {
  if (typeof step !== 'object' || step === null) return step;
  const node = { ...step } as Record<string, unknown>;
  for (const inner of ['normalizers', 'pretokenizers']) {
    const steps = node[inner];
    if (Array.isArray(steps)) node[inner] = steps.map(portableSteps);
  }
  if (node.type === 'Digits') {
    const Regex = node.individual_digits === true ? '\\p{N}' : '\\p{N}+';
    return { type: 'Split', pattern: { Regex }, behavior: 'Isolated', invert: false };
  }
  if (node.type === 'Punctuation') {
    const behaves = node.behavior ?? 'Isolated';
    return { type: 'Split', pattern: { Regex: PUNCTUATION }, behavior: behaves, invert: false };
  }
  // replaceAll takes some of what stands behind a "$" for more than text
  if (typeof node.content === 'string') node.content = node.content.replaceAll('$', () => '$$');
  const { Regex } = Object(node.pattern) as { readonly Regex?: unknown };
  if (typeof Regex !== 'string') return node;
  const rewritten = withinTime(timeFor(Regex.length), () => portablePattern(Regex));
  return { ...node, pattern: { Regex: rewritten } };
}

/** A pre-tokenizer of `@huggingface/tokenizers`; a Sequence has others inside. */
export interface PreTokenizer {
  (text: string, options: { readonly section_index: number }): string[];
  readonly tokenizers?: readonly (PreTokenizer | null)[];
  readonly config?: { readonly type?: unknown; readonly behavior?: unknown; invert?: unknown };
  readonly pattern?: RegExp | null;
  pre_tokenize_text(text: string): string[];
}

/** Gives every Split its behavior and `invert`; the library knows Isolated and Removed only, and only some of `invert`. */
export function correctSplits(step: PreTokenizer | null): void {
  if (step === null) return;
  for (const inner of step.tokenizers ?? []) correctSplits(inner);
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
