import { Tokenizer as TokenizerPipeline } from '@huggingface/tokenizers';
import { libraryMessage, SdaError } from '../errors.js';
import { isInsideWord } from './added-tokens.js';
import {
  correctNormalizers,
  correctPreTokenizers,
  type Normalizer,
  type PreTokenizer,
} from './corrections.js';
import { checkedModel, checkedPostProcessor } from './model-check.js';
import { UnsupportedPattern } from './patterns.js';
import { checkSteps, portableSteps } from './steps.js';
import type { AddedTokenConfig } from './tokenizer-config.js';
import { addByteFallback, type TokenModel } from './unigram.js';

/** Cuts added tokens out of a text; the pieces joined are the text. */
interface Splitter {
  split(text: string): string[];
}

/** The part of `@huggingface/tokenizers` that is used; its own types do not resolve under NodeNext. */
export interface Pipeline {
  readonly normalizer: Normalizer | null;
  readonly pre_tokenizer: PreTokenizer | null;
  readonly model: TokenModel;
  encode(
    text: string,
    options: { readonly add_special_tokens: boolean },
  ): {
    readonly ids: readonly (number | undefined)[];
  };
  token_to_id(token: string): number | undefined;
  readonly splitter_unnormalized: Splitter;
  readonly splitter_normalized: Splitter;
}

/** The parts of a tokenizer.json, unchecked. */
export interface PipelineParts {
  readonly model: Readonly<Record<string, unknown>>;
  readonly normalizer: unknown;
  readonly pre_tokenizer: unknown;
  readonly post_processor: unknown;
}

/**
 * From text to tokens with `@huggingface/tokenizers` and the results of the Rust library.
 * @throws SdaError `unsupported` for what the library does not do, by its name; `bad-tokenizer`
 */
export function createPipeline(
  parts: PipelineParts,
  addedTokens: readonly AddedTokenConfig[],
  file: string,
): Pipeline {
  const model = checkedModel(parts.model, file);
  const post_processor = checkedPostProcessor(parts.post_processor, file);
  checkSteps(parts, file);
  let pipeline: Pipeline;
  try {
    const pre_tokenizer = portableSteps(parts.pre_tokenizer);
    const normalizer = portableSteps(parts.normalizer);
    const json = { ...parts, model, normalizer, pre_tokenizer, post_processor, decoder: null };
    pipeline = new TokenizerPipeline({ ...json, added_tokens: addedTokens }, {}) as Pipeline;
  } catch (error) {
    if (error instanceof UnsupportedPattern) {
      throw new SdaError(
        'unsupported',
        `${file} splits text with a regular expression that cannot be run here (${error.message}); take the tokenizer of the original model.`,
        { cause: error },
      );
    }
    throw new SdaError(
      'bad-tokenizer',
      `${file} cannot be used as a tokenizer (${libraryMessage(error, 'a part of it is missing or malformed')}); download it again.`,
      { cause: error },
    );
  }
  correctNormalizers(pipeline.normalizer, file);
  correctPreTokenizers(pipeline.pre_tokenizer);
  if (model.type === 'Unigram') addByteFallback(pipeline.model);
  eachWord(pipeline.model);
  for (const splitter of [pipeline.splitter_unnormalized, pipeline.splitter_normalized]) {
    keepWords(splitter, addedTokens);
  }
  return pipeline;
}

/** Has a model fuse what it does not know within a word; the library does so across words. */
function eachWord(model: TokenModel): void {
  if (!model.fuse_unk) return;
  const all = model._call.bind(model);
  model._call = (words) => words.flatMap((word) => all([word]));
}

/** Has a splitter leave tokens with `single_word` inside words alone, which `@huggingface/tokenizers` does not. */
function keepWords(splitter: Splitter, addedTokens: readonly AddedTokenConfig[]): void {
  const whole = new Set(
    addedTokens.filter((token) => token.single_word).map(({ content }) => content),
  );
  if (whole.size === 0) return;
  const others = new Set(addedTokens.map(({ content }) => content));
  const split = splitter.split.bind(splitter);
  splitter.split = (text) => {
    const pieces: string[] = [];
    let end = 0;
    let isText = false;
    for (const piece of split(text)) {
      const start = end;
      end += piece.length;
      const isToken =
        others.has(piece) && !(whole.has(piece) && isInsideWord(text, { start, end }));
      // What is no token after all joins the text around it.
      if (!isToken && isText) pieces.push(`${pieces.pop()}${piece}`);
      else pieces.push(piece);
      isText = !isToken;
    }
    return pieces;
  };
}
