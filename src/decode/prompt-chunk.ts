import type { Tensor2D } from '@tensorflow/tfjs-core';
import type { ForwardOptions, TokenBatch } from '../model/decoder.js';

/** The next tokens of prompts on their way into the cache, and what is read of them: one forward. */
export interface PromptChunk {
  readonly batch: TokenBatch;
  readonly options: Pick<ForwardOptions, 'taps'> & {
    readonly logits: 'last' | 'all' | 'none';
    /** Of the longest of the prompts, see `ForwardOptions` */
    readonly promptLength: number;
  };
}

/** Prompts that come in chunk by chunk. Whoever asks for a chunk runs it, and says what came of it, before the next. */
export interface Incoming {
  /**
   * The next chunk; not to be asked for after the end.
   *
   * @param most tokens of it, over all prompts; but one of each prompt at least
   */
  next(most: number): PromptChunk;

  /**
   * Notes that the chunk is in the cache.
   *
   * @param read what its forward returned; from now on it belongs to this
   */
  ran(chunk: PromptChunk, read: Tensor2D | null): void;
}

/** How many tokens a chunk has, without padding. */
export function tokensOf({ batch }: PromptChunk): number {
  return batch.positions.reduce((count, position) => count + Number(position >= 0), 0);
}
