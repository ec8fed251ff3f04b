import type { Tensor2D } from '@tensorflow/tfjs-core';
import { SdaError } from '../errors.js';
import type { TokenBatch } from '../model/decoder.js';
import type { Incoming, PromptChunk } from './prompt-chunk.js';
import { firstChunk } from './streams.js';

/** Tokens that are given, not drawn: how likely each was after those before it. */
export interface GivenLogProbs {
  /** log P of each token, nats; null of the first, which nothing is before */
  readonly logps: readonly (number | null)[];
  /** The likeliest tokens in the place of each, the likeliest first; empty for the first */
  readonly top: readonly (readonly TokenLogProb[])[];
}

export interface TokenLogProb {
  readonly id: number;
  readonly logp: number;
}

/** Tokens a forward takes at most: bounds the logits on the device, [CHUNK, V]. */
export const GIVEN_CHUNK = 32;

/** The log-probabilities of one stream's own tokens, several of them verified by one forward. */
export class GivenTokens implements Incoming {
  private readonly logps: (number | null)[] = [null];
  private readonly top: TokenLogProb[][] = [[]];
  private run = 0;

  /**
   * @param ids at least one
   * @param most likeliest tokens that are told beside each token, at least 0
   * @param row of the cache, where they are run
   */
  constructor(
    private readonly ids: readonly number[],
    private readonly most: number,
    private readonly row: number,
  ) {}

  /** undefined before the end */
  get result(): GivenLogProbs | undefined {
    return this.run < this.ids.length ? undefined : { logps: this.logps, top: this.top };
  }

  /** At most `GIVEN_CHUNK` tokens. */
  next(most: number): PromptChunk {
    const rest = { row: this.row, ids: this.ids.slice(this.run), start: this.run };
    const columns = Math.min(GIVEN_CHUNK, Math.max(1, Math.floor(most)));
    const { batch } = firstChunk([rest], columns);
    return { batch, options: { logits: 'all', promptLength: this.ids.length } };
  }

  /** @throws SdaError `bad-logits` */
  ran({ batch }: PromptChunk, read: Tensor2D | null): void {
    try {
      this.take(read!, batch);
    } finally {
      read!.dispose();
    }
    this.run = batch.positions.at(-1)! + 1;
  }

  private take(logits: Tensor2D, { positions }: TokenBatch): void {
    const width = logits.shape[1];
    const values = logits.dataSync() as Float32Array;
    positions.forEach((position, line) => {
      const id = this.ids[position + 1];
      if (position < 0 || id === undefined) return;
      const lineValues = values.subarray(line * width, (line + 1) * width);
      const logZ = logSumExp(lineValues);
      const logpOf = (each: number) => lineValues[each]! - logZ;
      this.logps[position + 1] = logpOf(id);
      const ids = likeliest(lineValues, this.most);
      this.top[position + 1] = ids.map((each) => ({ id: each, logp: logpOf(each) }));
    });
  }
}

/**
 * log of the sum of exp, in float64.
 *
 * @throws SdaError `bad-logits` where it is not finite
 */
export function logSumExp(logits: Float32Array): number {
  let largest = Number.NEGATIVE_INFINITY;
  for (const logit of logits) largest = Math.max(largest, logit);
  let sum = 0;
  for (const logit of logits) sum += Math.exp(logit - largest);
  const logZ = largest + Math.log(sum);
  if (Number.isFinite(logZ)) return logZ;
  throw new SdaError(
    'bad-logits',
    'A logit of the given tokens is NaN or infinite: the weights are damaged or the model overflows; check the file, or load it with float32.',
  );
}

/** Ids of the `count` largest values, the largest first; of equal ones the least id first. */
export function likeliest(values: Float32Array, count: number): number[] {
  const ids: number[] = [];
  for (let id = 0; id < values.length; id++) {
    const value = values[id]!;
    if (ids.length === count && !(value > values[ids[count - 1]!]!)) continue;
    let place = ids.length;
    while (place > 0 && value > values[ids[place - 1]!]!) place--;
    ids.splice(place, 0, id);
    if (ids.length > count) ids.pop();
  }
  return ids;
}
