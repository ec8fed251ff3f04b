import { SdaError } from '../../errors.js';
import type { Metadata } from './metadata.js';

const SUFFIXES = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+";
const REST = ' ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+';

/** The pattern of tiktoken's o200k_base: the case of letters cuts words as well. */
const O200K = [
  `[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?`,
  `[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?`,
  '\\p{N}{1,3}',
  ' ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*',
  '\\s*[\\r\\n]+',
  '\\s+(?!\\S)',
  '\\s+',
].join('|');

/** The pattern of Mistral's Tekken: the same, each digit one by itself, and suffixes no part of a word. */
const TEKKEN = O200K.replaceAll("(?i:'s|'t|'re|'ve|'m|'ll|'d)?", '').replace('{1,3}', '');

const bytes = (useRegex: boolean) => ({
  type: 'ByteLevel',
  add_prefix_space: false,
  trim_offsets: true,
  use_regex: useRegex,
});
const cut = (Regex: string) => ({
  type: 'Split',
  pattern: { Regex },
  behavior: 'Isolated',
  invert: false,
});
const split = (digits: string) => cut(`${SUFFIXES}|${digits}|${REST}`);
const sequence = (...pretokenizers: readonly unknown[]) => ({ type: 'Sequence', pretokenizers });
const NFC = { type: 'NFC' };

/** GPT-2's words, each digit one by itself. */
const SINGLE_DIGITS = {
  normalizer: null,
  pre_tokenizer: sequence({ type: 'Digits', individual_digits: true }, bytes(true)),
};
/** GPT-4's words. */
const THREE_DIGITS = {
  normalizer: null,
  pre_tokenizer: sequence(split('\\p{N}{1,3}'), bytes(false)),
};

/**
 * tokenizer.json's normalizer and pre-tokenizer by `tokenizer.ggml.pre`. Source: the published models' files and
 * llama.cpp, which names SmolLM3's "smaug-bpe", OLMo 2's "dbrx", Granite's "refact" and Phi-4-mini's "gpt-4o".
 */
const WORDS: Readonly<Record<string, { normalizer: unknown; pre_tokenizer: unknown }>> = {
  'gpt-2': { normalizer: null, pre_tokenizer: bytes(true) },
  smollm: SINGLE_DIGITS,
  refact: SINGLE_DIGITS,
  'llama-bpe': THREE_DIGITS,
  'smaug-bpe': THREE_DIGITS,
  dbrx: THREE_DIGITS,
  'gpt-4o': { normalizer: null, pre_tokenizer: sequence(cut(O200K), bytes(false)) },
  tekken: { normalizer: null, pre_tokenizer: sequence(cut(TEKKEN), bytes(false)) },
  qwen2: { normalizer: NFC, pre_tokenizer: sequence(split('\\p{N}'), bytes(false)) },
  'deepseek-r1-qwen': { normalizer: null, pre_tokenizer: sequence(split('\\p{N}'), bytes(false)) },
};

/**
 * How a text is cut into words before byte-level BPE.
 * @throws SdaError `unsupported` for a way that is not known: llama.cpp names one for each kind of tokenizer.
 */
export function wordCutting(metadata: Metadata): { normalizer: unknown; pre_tokenizer: unknown } {
  const name = metadata.textIf('tokenizer.ggml.pre') ?? 'not named';
  const words = Object.hasOwn(WORDS, name) ? WORDS[name] : undefined;
  if (words) return words;
  throw new SdaError(
    'unsupported',
    `${metadata.file} cuts texts into words as ${JSON.stringify(name)} where ${Object.keys(WORDS).join(', ')} are known; copy tokenizer.json of the published model.`,
  );
}
