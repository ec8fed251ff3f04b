import { join } from 'node:path';
import { z } from 'zod';
import { describeIssues, parseJson } from '../checkpoint/json-file.js';
import { libraryMessage, SdaError } from '../errors.js';
import { allAddedTokens, splitAtAddedTokens, type TextSegment } from './added-tokens.js';
import { MAX_ID, OutOfTime, timeFor, withinTime } from './limits.js';
import { createPipeline, type Pipeline } from './pipeline.js';
import { THINKING_TAGS } from './reasoning.js';
import { type TokenDecoder, tokenDecoderFactory } from './token-decoder.js';
import {
  type AddedTokenConfig,
  loadTokenizerConfig,
  type TokenizerConfig,
} from './tokenizer-config.js';
import { readTokenizerFile } from './tokenizer-file.js';

/** Text to token ids and back, with the results of transformers. */
export interface Tokenizer {
  /**
   * Token ids of a text. Special tokens written in it become those tokens; `addSpecialTokens` (default
   * true) adds what the checkpoint wraps around a text, such as a beginning-of-text token.
   */
  encode(text: string, options?: { readonly addSpecialTokens?: boolean }): number[];
  /**
   * Token ids of the segments' text, with nothing wrapped around it. Added tokens are found inside a
   * segment that is not literal, never across segments.
   */
  encodeSegments(segments: readonly TextSegment[]): number[];
  /**
   * Text of token ids; ids without a token are left out, as are special tokens with `skipSpecialTokens`
   * (default false) but the tags around a model's thinking, without which it could not be told from the answer. Spaces before punctuation stay: the "clean-up" of tokenizer_config.json is for
   * WordPiece, and transformers 5 does not apply it to the BPE of all supported models either.
   */
  decode(ids: readonly number[], options?: DecodeOptions): string;
  /** A decoder of ids that come one by one; it never gives half a character. */
  streamDecoder(options?: DecodeOptions): StreamDecoder;
  /** 1 + the highest id that has a token. */
  readonly size: number;
  hasToken(id: number): boolean;
  /** The token's text by itself, for display: lossy where it is part of a character. */
  tokenText(id: number): string;
  readonly bosTokenId: number | null;
  readonly eosTokenId: number | null;
  readonly specialTokenIds: ReadonlySet<number>;
  /** Tokens that are cut out of a text before the rest is tokenized, special or not. */
  readonly addedTokens: readonly AddedTokenConfig[];
}

/** Options of decoding. */
export interface DecodeOptions {
  readonly skipSpecialTokens?: boolean;
}

/** Text from ids as they come: the results of all `push` and one `flush` joined are `decode` of all ids. */
export interface StreamDecoder {
  /** The text that this token completes, often '' in the middle of a character. */
  push(id: number): string;
  /** At the end: what was held back, U+FFFD for an unfinished character. */
  flush(): string;
}

const addedTokenSchema = z.object({
  id: z.number().int().nonnegative().max(MAX_ID),
  content: z.string().min(1),
  special: z.boolean().default(false),
  lstrip: z.boolean().default(false),
  rstrip: z.boolean().default(false),
  normalized: z.boolean().default(false),
  single_word: z.boolean().default(false),
});
const tokenizerSchema = z.looseObject({
  model: z.looseObject({}),
  added_tokens: z.array(addedTokenSchema).default([]),
  normalizer: z.unknown().default(null),
  pre_tokenizer: z.unknown().default(null),
  post_processor: z.unknown().default(null),
  decoder: z.unknown().default(null),
});

/**
 * Loads tokenizer.json with tokenizer_config.json from a Hugging Face folder.
 * @throws SdaError `file-missing`, `bad-tokenizer` or `unsupported`, naming the file.
 */
export async function loadTokenizer(dir: string): Promise<Tokenizer> {
  const file = join(dir, 'tokenizer.json');
  const json = parseJson(await readTokenizerFile(dir), file, 'bad-tokenizer');
  return createTokenizer(json, { file, config: await loadTokenizerConfig(dir) });
}

/** Makes a tokenizer of a parsed tokenizer.json; see {@link loadTokenizer}. */
export function createTokenizer(
  json: unknown,
  options: { readonly file: string; readonly config: TokenizerConfig },
): Tokenizer {
  const { file, config } = options;
  const parsed = tokenizerSchema.safeParse(json);
  if (!parsed.success) {
    throw new SdaError(
      'bad-tokenizer',
      `${file} is not a tokenizer (${describeIssues(parsed.error)}); download it again.`,
    );
  }
  const { model, decoder } = parsed.data;
  const addedTokens = allAddedTokens(parsed.data.added_tokens, model.vocab, config);
  const newDecoder = tokenDecoderFactory(decoder, file);
  const pipeline = createPipeline(parsed.data, addedTokens, file);
  return new PipelineTokenizer(pipeline, { file, config, addedTokens, newDecoder });
}

interface Parts {
  readonly file: string;
  readonly config: TokenizerConfig;
  readonly addedTokens: readonly AddedTokenConfig[];
  readonly newDecoder: () => TokenDecoder;
}

class PipelineTokenizer implements Tokenizer {
  readonly size: number;
  readonly bosTokenId: number | null;
  readonly eosTokenId: number | null;
  readonly specialTokenIds: ReadonlySet<number>;
  readonly addedTokens: readonly AddedTokenConfig[];
  private readonly tokens: readonly (string | undefined)[];

  constructor(
    private readonly pipeline: Pipeline,
    private readonly parts: Parts,
  ) {
    const { config, addedTokens } = parts;
    this.tokens = pipeline.model.vocab;
    this.size = pipeline.model.vocab.length;
    this.addedTokens = addedTokens;
    this.specialTokenIds = new Set(
      addedTokens.filter(({ special }) => special).map(({ id }) => id),
    );
    this.bosTokenId = this.idOf(config.roles.bos_token);
    this.eosTokenId = this.idOf(config.roles.eos_token);
  }

  private idOf(token: string | undefined): number | null {
    return token === undefined ? null : (this.pipeline.token_to_id(token) ?? null);
  }

  encode(text: string, options: { readonly addSpecialTokens?: boolean } = {}): number[] {
    const { addSpecialTokens = true } = options;
    return this.limited(text.length, () => {
      const { ids } = this.pipeline.encode(text, { add_special_tokens: addSpecialTokens });
      return this.checkIds(ids);
    });
  }

  encodeSegments(segments: readonly TextSegment[]): number[] {
    const [first] = segments;
    if (first && segments.length === 1 && !first.literal) {
      return this.encode(first.text, { addSpecialTokens: false });
    }
    const length = segments.reduce((sum, { text }) => sum + text.length, 0);
    const sections = splitAtAddedTokens(segments, this.addedTokens);
    return this.limited(length, () =>
      sections.flatMap((section, i) =>
        typeof section === 'string' ? this.encodePlain(section, i) : [section.id],
      ),
    );
  }

  /** Encodes a text of so many characters: the file's regular expressions may backtrack for ever, or it may not fit. */
  private limited(characters: number, encode: () => number[]): number[] {
    try {
      return withinTime(timeFor(characters), encode);
    } catch (error) {
      if (error instanceof SdaError) throw error;
      const why =
        error instanceof OutOfTime
          ? error.message
          : libraryMessage(error, 'a part of it is malformed');
      throw new SdaError(
        'bad-tokenizer',
        `${this.parts.file} cannot encode a text of ${characters} characters (${why}); take the tokenizer of the original model.`,
        { cause: error },
      );
    }
  }

  /** Tokens of a text in which nothing is special; `index` is its place among the sections. */
  private encodePlain(text: string, index: number): number[] {
    const { normalizer, pre_tokenizer: preTokenizer, model } = this.pipeline;
    const normalized = normalizer ? normalizer(text) : text;
    if (normalized === '') return [];
    const words = preTokenizer ? preTokenizer(normalized, { section_index: index }) : [normalized];
    return this.checkIds(
      model(words).map((token) => model.tokens_to_ids.get(token) ?? model.unk_token_id),
    );
  }

  private checkIds(ids: readonly (number | undefined)[]): number[] {
    return ids.map((id) => {
      if (id !== undefined) return id;
      throw new SdaError(
        'bad-tokenizer',
        `${this.parts.file} has no token for a part of the text; its vocabulary is incomplete, download it again.`,
      );
    });
  }

  decode(ids: readonly number[], options: DecodeOptions = {}): string {
    const decoder = this.streamDecoder(options);
    return ids.map((id) => decoder.push(id)).join('') + decoder.flush();
  }

  streamDecoder(options: DecodeOptions = {}): StreamDecoder {
    const decoder = this.parts.newDecoder();
    const { skipSpecialTokens = false } = options;
    return {
      push: (id) => {
        const token = this.tokens[id];
        if (token === undefined) return '';
        const skipped = skipSpecialTokens && this.specialTokenIds.has(id);
        return skipped && !THINKING_TAGS.has(token) ? '' : decoder.push(token);
      },
      flush: () => decoder.flush(),
    };
  }

  hasToken(id: number): boolean {
    return this.tokens[id] !== undefined;
  }

  tokenText(id: number): string {
    if (this.tokens[id] === undefined) return `<${id}>`;
    const decoder = this.parts.newDecoder();
    // Context before it, so that a leading space is kept as it would be inside a text.
    const before = decoder.push('a');
    return (before + decoder.push(this.tokens[id]) + decoder.flush()).slice(1);
  }
}
