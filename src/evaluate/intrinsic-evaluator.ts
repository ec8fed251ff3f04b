import { basename } from 'node:path';
import { SdaError } from '../errors.js';
import type { SdaModel } from '../generate/sda-model.js';
import { plainSegments, type TextSegment } from '../text/added-tokens.js';
import { INSTRUCTIONS } from '../text/instructions.js';
import { buildPrompts, type Placement, type PromptOptions } from '../text/prompts.js';
import { opensThinking, thinkingTags } from '../text/reasoning.js';
import type { Tokenizer } from '../text/tokenizer.js';
import { intrinsicScore, scoreTokens } from './intrinsic.js';
import { type Evaluator, type Failed, type FailureKind, localProvenance } from './types.js';

/** How both prompts are made: as for the response that is scored. */
export interface IntrinsicPromptOptions
  extends Pick<PromptOptions, 'history' | 'system' | 'foldSystem' | 'date' | 'templateVariables'> {
  /** I in your own words, instead of the built-in instruction of each response's core */
  readonly instruction?: string | undefined;
  /** Default `after-query` */
  readonly placement?: Placement | undefined;
}

export interface IntrinsicOptions extends IntrinsicPromptOptions {
  /** Nats a token; see `intrinsicScore` */
  readonly scale?: number | undefined;
  /** How likely the tokens are, such as by an engine that runs others beside; default: `scoreTokens` */
  readonly scoreWith?: typeof scoreTokens | undefined;
}

/** Errors that say something of one response; any other would meet the next one as well. */
const OF_ONE_RESPONSE = new Set(['bad-input', 'context-exceeded', 'bad-logits', 'bad-tokenizer']);

/**
 * S from the model itself; see `intrinsicScore`. Both prompts are run as one batch over the response.
 *
 * Where the input has no `responseIds`, the text is tokenised by itself behind the prompt, as a model draws it; it may
 * have drawn the same text in other tokens, and its end-of-text token is not scored. Thinking is context and not
 * scored: the two contexts are compared at the answer's tokens, behind the same thinking, as the decoder compares
 * them. Where a prompt opens the thinking and the input has none, an empty one is closed first.
 */
export function intrinsicEvaluator(model: SdaModel, options: IntrinsicOptions = {}): Evaluator {
  const { scale, instruction, placement = 'after-query', scoreWith = scoreTokens } = options;
  const { history, system, foldSystem, date, templateVariables } = options;
  const prompt = { history, system, foldSystem, date, templateVariables };
  const provenance = localProvenance('intrinsic', basename(model.dir));
  const failed = (kind: FailureKind, reason: string): Failed => ({
    status: 'failed',
    kind,
    reason,
    provenance,
  });
  intrinsicScore([0], [0], scale); // throws now for a scale that is none
  return {
    name: 'intrinsic',
    async score({ query, response, core, thinking = '', responseIds }, { signal } = {}) {
      if (signal?.aborted) return failed('aborted', 'The scoring was aborted before it began.');
      const tokenizer = await model.tokenizer();
      const template = await model.chatTemplate();
      try {
        const { baseIds, instructedIds, baseText } = buildPrompts({
          ...prompt,
          tokenizer,
          template,
          query,
          placement,
          instruction: instruction ?? INSTRUCTIONS[core],
        });
        const ids = responseIds ?? answerIds(tokenizer, response);
        if (response.trim() === '' || ids.length === 0) {
          return failed('no-answer', 'The response to score is empty.');
        }
        const before = thinkingIds(tokenizer, thinking, baseText);
        const scores = await scoreWith(
          model,
          { baseIds: [...baseIds, ...before], instructedIds: [...instructedIds, ...before] },
          ids,
          { logitBias: model.logitBias(tokenizer) },
        );
        const score = intrinsicScore(scores.logpBase, scores.logpInstructed, scale);
        return { status: 'scored', score, provenance };
      } catch (error) {
        if (!(error instanceof SdaError && OF_ONE_RESPONSE.has(error.code))) throw error;
        return failed('unusable', error.message);
      }
    },
  };
}

/**
 * Tokens between prompt and answer, as the model writes them: the tags are its own, and special tokens where it has
 * them as such; within the thinking their texts are plain text.
 */
function thinkingIds(tokenizer: Tokenizer, thinking: string, prompt: string): number[] {
  const { addedTokens } = tokenizer;
  const opened = opensThinking(prompt);
  const thought = thinking.trim();
  if (thought === '' && !opened) return [];
  const contents = addedTokens.map(({ content }) => content);
  const { open, close, gap } = thinkingTags(prompt, contents);
  const tag = (text: string): TextSegment => ({ text, literal: false });
  return tokenizer.encodeSegments([
    ...(opened ? [] : [tag(open + gap)]),
    ...(thought === '' ? [] : [...plainSegments(thought, addedTokens), tag(gap)]),
    tag(close + gap + gap),
  ]);
}

/** Tokens of a text that a model wrote: the text of a special token in it was never that token. */
function answerIds(tokenizer: Tokenizer, text: string): number[] {
  return tokenizer.encodeSegments(plainSegments(text, tokenizer.addedTokens));
}
