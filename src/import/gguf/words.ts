import { SdaError } from '../../errors.js';
import type { Metadata } from './metadata.js';

const SUFFIXES = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+";
const REST = ' ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+';

const bytes = (useRegex: boolean) => ({
  type: 'ByteLevel',
  add_prefix_space: false,
  trim_offsets: true,
  use_regex: useRegex,
});
const split = (digits: string) => ({
  type: 'Split',
  pattern: { Regex: `${SUFFIXES}|${digits}|${REST}` },
  behavior: 'Isolated',
  invert: false,
});
const sequence = (...pretokenizers: readonly unknown[]) => ({ type: 'Sequence', pretokenizers });
const NFC = { type: 'NFC' };

/** tokenizer.json's normalizer and pre-tokenizer by `tokenizer.ggml.pre`. Source: the published models' files. */
const WORDS: Readonly<Record<string, { normalizer: unknown; pre_tokenizer: unknown }>> = {
  'gpt-2': { normalizer: null, pre_tokenizer: bytes(true) },
  smollm: {
    normalizer: null,
    pre_tokenizer: sequence({ type: 'Digits', individual_digits: true }, bytes(true)),
  },
  'llama-bpe': {
    normalizer: null,
    pre_tokenizer: sequence(split('\\p{N}{1,3}'), bytes(false)),
  },
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
