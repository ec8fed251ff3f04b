import { split, type Tensor2D } from '@tensorflow/tfjs-core';
import type { TokenBatch } from '../model/decoder.js';
import type { PromptChunk } from './prompt-chunk.js';

/** The newest tokens of running streams and a chunk of prompts as one batch, a token a line: the weights are read once. */
export interface JoinedBatch {
  readonly batch: TokenBatch;
  /** The lines whose logits are read: those of the step, then those that are read of the chunk */
  readonly read: readonly number[];
}

/** @param step a token of each stream; the chunk's padding is left out */
export function joined(step: TokenBatch, { batch: chunk, options }: PromptChunk): JoinedBatch {
  const columns = chunk.ids.length / chunk.rows.length;
  const tokens = [...chunk.positions.keys()].filter((token) => chunk.positions[token]! >= 0);
  const isRead = (token: number) =>
    options.logits === 'all' || (options.logits === 'last' && (token + 1) % columns === 0);
  const read = [...tokens.keys()].filter((index) => isRead(tokens[index]!));
  const steps = step.ids.length;
  return {
    batch: {
      ids: Int32Array.of(...step.ids, ...tokens.map((token) => chunk.ids[token]!)),
      positions: Int32Array.of(
        ...step.positions,
        ...tokens.map((token) => chunk.positions[token]!),
      ),
      rows: Int32Array.of(
        ...step.rows,
        ...tokens.map((token) => chunk.rows[Math.floor(token / columns)]!),
      ),
      drawn: step.drawn,
    },
    read: [...Array(steps).keys(), ...read.map((index) => steps + index)],
  };
}

/** What was read of a joined batch, `steps` lines of it the step's: both as they would be alone. Takes `read` over. */
export function apart(
  read: Tensor2D,
  steps: number,
): { readonly step: Tensor2D; readonly chunk: Tensor2D | null } {
  if (read.shape[0] === steps) return { step: read, chunk: null };
  const [step, chunk] = split(read, [steps, read.shape[0] - steps]) as [Tensor2D, Tensor2D];
  read.dispose();
  return { step, chunk };
}
