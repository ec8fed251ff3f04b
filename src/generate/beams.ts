import type { BeamText } from '../decode/beam-search.js';
import { SdaError } from '../errors.js';
import type { Tokenizer } from '../text/tokenizer.js';
import type { GenerateRequest } from './types.js';

/** What beam search is asked for: the query or the messages, and how they become a prompt. */
export interface BeamRequest
  extends Pick<
    GenerateRequest,
    | 'query'
    | 'messages'
    | 'system'
    | 'foldSystem'
    | 'date'
    | 'templateVariables'
    | 'streams'
    | 'prompts'
    | 'maxTokens'
    | 'ignoreEos'
    | 'signal'
  > {
  /** Texts that are kept at each step; at least 1, at most the places of the engine */
  readonly beams: number;
  /** Texts are compared by log P over their length to this power; default 1, the mean of their tokens' */
  readonly lengthPenalty?: number | undefined;
}

/** A text that beam search has found. */
export interface BeamAnswer {
  readonly text: string;
  /** With the one that ends it */
  readonly tokenIds: readonly number[];
  /** log P of all of them, nats */
  readonly logp: number;
  /** By which answers are compared */
  readonly score: number;
  /** `stop` where it ended by itself */
  readonly finishReason: 'stop' | 'length';
}

/** @param tokenizer null: there is none, and no text */
export function beamAnswer(
  { ids, logp, score, ended }: BeamText,
  tokenizer: Tokenizer | null,
): BeamAnswer {
  const shown = ended ? ids.slice(0, -1) : ids;
  return {
    text: tokenizer?.decode(shown, { skipSpecialTokens: true }) ?? '',
    tokenIds: ids,
    logp,
    score,
    finishReason: ended ? 'stop' : 'length',
  };
}

/** @throws SdaError `bad-input` */
export function checkPenalty(lengthPenalty: number): void {
  if (Number.isFinite(lengthPenalty)) return;
  throw new SdaError(
    'bad-input',
    `lengthPenalty must be a finite number, but is ${lengthPenalty}.`,
  );
}
