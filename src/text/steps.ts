import { z } from 'zod';
import { describeIssues } from '../checkpoint/json-file.js';
import { SdaError } from '../errors.js';
import { behavior } from './corrections.js';
import { timeFor, withinTime } from './limits.js';
import { portablePattern } from './patterns.js';

const pattern = z.union([z.object({ String: z.string() }), z.object({ Regex: z.string() })]);
const anything = z.looseObject({});
const sides = z.object({ strip_left: z.boolean(), strip_right: z.boolean() });

/** What each kind of step holds. Another kind is refused: the library has none, or another than the Rust library. */
const NORMALIZERS: Readonly<Record<string, z.ZodType>> = {
  Sequence: anything,
  ...Object.fromEntries(
    ['NFC', 'NFD', 'NFKC', 'NFKD', 'Lowercase', 'StripAccents', 'Nmt', 'Precompiled'].map(
      (name) => [name, anything],
    ),
  ),
  Replace: z.object({ pattern, content: z.string() }),
  Strip: sides,
  Prepend: z.object({ prepend: z.string() }),
};
const PRE_TOKENIZERS: Readonly<Record<string, z.ZodType>> = {
  ...Object.fromEntries(
    ['Sequence', 'ByteLevel', 'Whitespace', 'WhitespaceSplit', 'BertPreTokenizer', 'Digits'].map(
      (name) => [name, anything],
    ),
  ),
  Metaspace: z.object({ replacement: z.string().default('\u2581') }),
  Split: z.object({ pattern, behavior, invert: z.boolean().default(false) }),
  Punctuation: z.object({ behavior: behavior.optional() }),
  CharDelimiterSplit: z.object({ delimiter: z.string() }),
  FixedLength: z.object({ length: z.number().int().positive() }),
};

/**
 * Checks a "normalizer" or "pre_tokenizer" for steps that the library would skip or take for others.
 * @throws SdaError `bad-tokenizer` that names the file and the step; `unsupported` for another kind of step
 */
export function checkSteps(steps: { normalizer: unknown; pre_tokenizer: unknown }, file: string) {
  checkStep(steps.normalizer, NORMALIZERS, 'normalizer', file);
  checkStep(steps.pre_tokenizer, PRE_TOKENIZERS, 'pre-tokenizer', file);
}

function checkStep(
  step: unknown,
  kinds: Readonly<Record<string, z.ZodType>>,
  what: string,
  file: string,
): void {
  if (step === null || step === undefined) return;
  const { type, normalizers, pretokenizers } = Object(step) as Record<string, unknown>;
  if (typeof type !== 'string') throw withoutType(what, file);
  if (!Object.hasOwn(kinds, type)) {
    throw new SdaError(
      'unsupported',
      `${file} has a ${what} of the type ${JSON.stringify(type)} where ${Object.keys(kinds).join(', ')} are supported; take a tokenizer.json without it.`,
    );
  }
  for (const inner of [normalizers, pretokenizers]) {
    if (Array.isArray(inner)) for (const one of inner) checkStep(one, kinds, what, file);
  }
  const parsed = kinds[type]!.safeParse(step);
  if (parsed.success) return;
  throw new SdaError(
    'bad-tokenizer',
    `${file} has a malformed ${type} (${describeIssues(parsed.error)}); download it again.`,
  );
}

/** That a part of a tokenizer.json does not say what it is. */
export function withoutType(what: string, file: string): SdaError {
  return new SdaError('bad-tokenizer', `${file} has a ${what} without a type; download it again.`);
}

/** Characters of Punctuation: Unicode's category P, and all of ASCII that is neither letter nor digit. */
const PUNCTUATION = '[\\p{P}$+<=>\\^`|~]';
/** What the Rust library's Whitespace takes for letters of a word. */
const WORD = '\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\p{Join_Control}';

const splitAt = (Regex: string, how: unknown, invert = false) => ({
  type: 'Split',
  pattern: { Regex },
  behavior: how,
  invert,
});
const sequence = (pretokenizers: readonly unknown[]) => ({ type: 'Sequence', pretokenizers });
const replaced = (Regex: string, content: string) => ({
  type: 'Replace',
  pattern: { Regex },
  content,
});

/** Steps as others that the library does as the Rust library does; by their types. */
const REWRITTEN: Readonly<Record<string, (step: Record<string, unknown>) => unknown>> = {
  // which knows digits such as \u00bd and \u2167
  Digits: (step) => splitAt(step.individual_digits === true ? '\\p{N}' : '\\p{N}+', 'Isolated'),
  Punctuation: (step) => splitAt(PUNCTUATION, step.behavior ?? 'Isolated'),
  Whitespace: () => splitAt(`[${WORD}]+|[^${WORD}\\s]+`, 'Removed', true),
  WhitespaceSplit: () => splitAt('\\s', 'Removed'),
  BertPreTokenizer: () => sequence([splitAt('\\s', 'Removed'), splitAt(PUNCTUATION, 'Isolated')]),
  CharDelimiterSplit: ({ delimiter }) => ({
    ...splitAt('', 'Removed'),
    pattern: { String: delimiter },
  }),
  FixedLength: ({ length }) => splitAt(`[\\s\\S]{1,${length}}`, 'Isolated'),
  Metaspace: ({ str_rep: _, ...step }) => {
    const own = { ...step, type: 'Metaspace' };
    const pieces = { String: step.replacement ?? '\u2581' };
    const cut = { ...splitAt('', 'MergedWithNext'), pattern: pieces };
    return step.split === false ? own : sequence([own, cut]);
  },
  Strip: ({ strip_left, strip_right }) => ({
    type: 'Sequence',
    normalizers: [
      ...(strip_left === true ? [replaced('\\A\\s+', '')] : []),
      ...(strip_right === true ? [replaced('(?<!\\s)\\s+\\z', '')] : []),
    ],
  }),
  Nmt: () => ({
    type: 'Sequence',
    normalizers: [
      replaced('[\\x01-\\x08\\x0B\\x0E-\\x1F\\x7F\\x8F\\x9F]', ''),
      replaced(
        '[\\x09\\x0A\\x0C\\x0D\\u1680\\u200B-\\u200F\\u2028\\u2029\\u2581\\uFEFF\\uFFFD]',
        ' ',
      ),
    ],
  }),
};

/**
 * Steps that JavaScript can run, with the results of the Rust library.
 * @throws UnsupportedPattern
 */
export function portableSteps(step: unknown): unknown {
  if (typeof step !== 'object' || step === null) return step;
  const node = { ...step } as Record<string, unknown>;
  for (const inner of ['normalizers', 'pretokenizers']) {
    const steps = node[inner];
    if (Array.isArray(steps)) node[inner] = steps.map(portableSteps);
  }
  const { type } = node;
  if (typeof type === 'string' && Object.hasOwn(REWRITTEN, type)) return REWRITTEN[type]!(node);
  // replaceAll takes some of what stands behind a "$" for more than text
  if (typeof node.content === 'string') node.content = node.content.replaceAll('$', () => '$$');
  const { Regex } = Object(node.pattern) as { readonly Regex?: unknown };
  if (typeof Regex !== 'string') return node;
  const rewritten = withinTime(timeFor(Regex.length), () => portablePattern(Regex));
  return { ...node, pattern: { Regex: rewritten } };
}
