/** The model of `@huggingface/tokenizers`: words to tokens. */
export interface TokenModel {
  (words: readonly string[]): string[];
  /** What calling it does */
  _call(words: readonly string[]): string[];
  /** Whether unknown characters beside each other are one token */
  readonly fuse_unk?: boolean;
  readonly config: { readonly byte_fallback?: unknown };
  readonly vocab: readonly (string | undefined)[];
  readonly tokens_to_ids: ReadonlyMap<string, number>;
  readonly unk_token_id?: number;
  encode(words: readonly string[]): string[];
}

const utf8 = new TextEncoder();

/** Has a unigram model write characters without a token as bytes, where its file says so and the library does not. */
export function addByteFallback(model: TokenModel): void {
  if (model.config.byte_fallback !== true) return;
  const encode = model.encode.bind(model);
  model.encode = (words) =>
    encode(words).flatMap((token) => {
      if (model.tokens_to_ids.has(token)) return [token];
      const bytes = Array.from(utf8.encode(token), byteToken);
      return bytes.every((byte) => model.tokens_to_ids.has(byte)) ? bytes : [token];
    });
}

/** As SentencePiece names the token of a byte. */
export function byteToken(byte: number): string {
  return `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`;
}
