import { SdaError } from '../../errors.js';
import type { TokenizerClass } from './classes.js';
import type { TokenizerSettings } from './settings.js';

/** A byte-level byte-pair encoding as vocab.json and merges.txt hold it. */
export interface ByteLevelVocabulary {
  readonly ids: ReadonlyMap<string, number>;
  /** First the ones that are applied first. */
  readonly merges: readonly (readonly [string, string])[];
}

/** How Qwen2 cuts words: a digit is one by itself, line breaks end one. */
const QWEN2_WORDS =
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

/**
 * Checks the JSON of a vocab.json: tokens and their ids.
 * @throws SdaError `bad-tokenizer` that names the token
 */
export function parseVocabulary(json: unknown, file: string): ReadonlyMap<string, number> {
  if (typeof json !== 'object' || json === null || Array.isArray(json)) {
    throw malformed(file, 'it is no map from tokens to ids');
  }
  const ids = new Map<string, number>();
  const tokens = new Map<number, string>();
  for (const [token, id] of Object.entries(json)) {
    if (!Number.isSafeInteger(id) || id < 0) {
      throw malformed(file, `the id of ${JSON.stringify(token)} is ${JSON.stringify(id)}`);
    }
    const other = tokens.get(id);
    if (other !== undefined) {
      const both = `${JSON.stringify(other)} and ${JSON.stringify(token)}`;
      throw malformed(file, `${both} have the same id ${id}`);
    }
    tokens.set(id, token);
    ids.set(token, id);
  }
  return ids;
}

/**
 * Reads a merges.txt: two tokens a line, after a first line that may name the version.
 * @throws SdaError `bad-tokenizer` that names the line
 */
export function parseMerges(
  text: string,
  ids: ReadonlyMap<string, number>,
  file: string,
): readonly (readonly [string, string])[] {
  const merges: [string, string][] = [];
  for (const [i, line] of text.split('\n').entries()) {
    const trimmed = line.trim();
    if (trimmed === '' || (i === 0 && trimmed.startsWith('#version:'))) continue;
    const [left, right, ...rest] = trimmed.split(/\s+/);
    if (left === undefined || right === undefined || rest.length > 0) {
      throw malformed(file, `line ${i + 1} has not two tokens`);
    }
    const missing = [left, right, left + right].find((token) => !ids.has(token));
    if (missing !== undefined) {
      throw malformed(
        file,
        `line ${i + 1} needs the token ${JSON.stringify(missing)}, which vocab.json has not`,
      );
    }
    merges.push([left, right]);
  }
  return merges;
}

/** The parts of a tokenizer.json that encode a text as the class of transformers does. */
export function fromByteLevel(
  { ids, merges }: ByteLevelVocabulary,
  settings: TokenizerSettings,
  kind: TokenizerClass,
): Readonly<Record<string, unknown>> {
  if (kind.words === 'gpt2' && settings.raw.add_prefix_space === true) {
    throw new SdaError(
      'unsupported',
      `${settings.config.file} has "add_prefix_space": true for ${kind.name}, which puts another space before a text that begins with one; a tokenizer.json cannot say so, take the one of the model.`,
    );
  }
  const bytes = (useRegex: boolean) => ({
    type: 'ByteLevel',
    add_prefix_space: false,
    trim_offsets: false,
    use_regex: useRegex,
  });
  const words = {
    type: 'Split',
    pattern: { Regex: QWEN2_WORDS },
    behavior: 'Isolated',
    invert: false,
  };
  return {
    normalizer: kind.words === 'qwen2' ? { type: 'NFC' } : null,
    pre_tokenizer:
      kind.words === 'qwen2'
        ? { type: 'Sequence', pretokenizers: [words, bytes(false)] }
        : bytes(true),
    decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: '',
      end_of_word_suffix: '',
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: false,
      vocab: Object.fromEntries(ids),
      merges,
    },
  };
}

function malformed(file: string, why: string): SdaError {
  return new SdaError(
    'bad-tokenizer',
    `${file} cannot be used as a part of a tokenizer (${why}); download it again.`,
  );
}
