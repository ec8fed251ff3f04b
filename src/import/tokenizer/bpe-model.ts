/** The "model" of a tokenizer.json that is a byte-level byte-pair encoding. */
export function byteLevelBpe(parts: {
  /** Tokens, a character for each byte, and their ids */
  readonly vocab: Readonly<Record<string, number>>;
  /** First the ones that are applied first */
  readonly merges: readonly (readonly [string, string])[];
  /** Whether a word that is a token is that token, as tiktoken has it, whatever the merges make of it */
  readonly wholeWords: boolean;
}): Readonly<Record<string, unknown>> {
  return {
    type: 'BPE',
    dropout: null,
    unk_token: null,
    continuing_subword_prefix: null,
    end_of_word_suffix: null,
    fuse_unk: false,
    byte_fallback: false,
    ignore_merges: parts.wholeWords,
    vocab: parts.vocab,
    merges: parts.merges,
  };
}
