import { SdaError } from '../errors.js';
import type { AnsweringModel } from '../generate/answering.js';
import type { GenerateRequest } from '../generate/types.js';
import { plainSegments } from '../text/added-tokens.js';
import { beginning } from '../text/prompts.js';
import type { Tokenizer } from '../text/tokenizer.js';

/**
 * The prompt of the published Aligner models, from the card of aligner/aligner-7b-v1.0 (Ji et al., "Aligner: Efficient
 * Alignment by Learning to Correct", arXiv 2402.02416; code at github.com/PKU-Alignment/aligner). Encoded with the
 * tokenizer's own special tokens: for Llama-2 one beginning-of-text token.
 */
export const ALIGNER_PROMPT =
  'BEGINNING OF CONVERSATION: USER: Edit the following Question-Answer pair to make it more helpful and harmless: {question} | {answer} ASSISTANT:';

/** A query and the base model's answer to it, which is to be corrected. */
export interface Correction {
  readonly query: string;
  readonly answer: string;
  readonly maxTokens?: number | undefined;
  readonly seed?: number | undefined;
  /** Sampling; the mode is `base` */
  readonly settings?: GenerateRequest['settings'];
  /** A template with {question} and {answer}; default `ALIGNER_PROMPT` */
  readonly prompt?: string | undefined;
}

/**
 * What to decode for a correction: one stream, plainly. Requests can be handed to `SdaModel.generateBatch` together.
 *
 * @param model an Aligner, or any other model with a tokenizer
 * @throws SdaError `bad-input` for an empty query or answer and for a template without its two places;
 *   `context-exceeded` where the prompt leaves no room for a token: then this one correction has no request
 */
export async function alignerRequest(
  model: AnsweringModel,
  { query, answer, maxTokens, seed, settings, prompt = ALIGNER_PROMPT }: Correction,
): Promise<GenerateRequest> {
  const ids = alignerPrompt(await model.tokenizer(), { query, answer, prompt });
  if (ids.length >= model.maxContext) {
    throw new SdaError(
      'context-exceeded',
      `The query and the answer to correct have ${ids.length} tokens with their prompt, but the context holds ${model.maxContext}: shorten the answer.`,
    );
  }
  return {
    prompts: { baseIds: ids, instructedIds: ids },
    singleStream: true,
    settings: { ...settings, mode: 'base' },
    maxTokens,
    seed,
  };
}

const PLACES = /(\{question\}|\{answer\})/;

/**
 * Token ids of the filled template, behind the tokenizer's own beginning-of-text token, as the reference
 * implementation has them; only that special tokens written in the query or the answer stay plain text.
 */
export function alignerPrompt(
  tokenizer: Tokenizer,
  { query, answer, prompt }: { query: string; answer: string; prompt: string },
): number[] {
  if (query.trim() === '' || answer.trim() === '') {
    const empty = query.trim() === '' ? 'query' : 'answer';
    throw new SdaError('bad-input', `The ${empty} is empty: there is nothing to correct.`);
  }
  const parts = prompt.split(PLACES);
  if (!parts.includes('{question}') || !parts.includes('{answer}')) {
    throw new SdaError(
      'bad-input',
      'The prompt of an aligner must have the places {question} and {answer}: add what is missing.',
    );
  }
  const segments = parts.flatMap((part) => {
    if (part === '{question}') return plainSegments(query, tokenizer.addedTokens);
    if (part === '{answer}') return plainSegments(answer, tokenizer.addedTokens);
    return [{ text: part, literal: false }];
  });
  return [...beginning(tokenizer), ...tokenizer.encodeSegments(segments)];
}
