import { expect } from 'vitest';
import type { Incoming, PromptChunk } from '../../src/decode/prompt-chunk.js';
import { type DecoderModel, forward } from '../../src/model/decoder.js';
import { KvCache } from '../../src/model/kv-cache.js';
import { batchOf } from './checkpoints.js';
import { expectClose } from './close.js';
import { valuesOf } from './tensorflow.js';

const MAX_CONTEXT = 128;

export function cacheOf(
  model: DecoderModel,
  rows: number,
  capacity = 1,
  most = MAX_CONTEXT,
): KvCache {
  return new KvCache(model.config, rows, capacity, most, model.kv);
}

/** Logits of every step of one stream: after the prompt, then after each of `ids`. */
export function stepsAlone(
  model: DecoderModel,
  prompt: readonly number[],
  ids: readonly number[],
  most = MAX_CONTEXT,
) {
  const cache = cacheOf(model, 1, 1, most);
  const steps = [prompt, ...ids.map((id) => [id])];
  let position = 0;
  const logits = steps.map((step) => {
    const batch = batchOf([step], [position]);
    position += step.length;
    return valuesOf(forward(model, batch, cache, { logits: 'last' })!);
  });
  cache.dispose();
  return logits;
}

/** Runs the next tokens of prompts into a cache. */
export function advance(
  model: DecoderModel,
  prompts: Incoming,
  most: number,
  cache: KvCache,
): PromptChunk {
  const chunk = prompts.next(most);
  prompts.ran(chunk, forward(model, chunk.batch, cache, chunk.options));
  return chunk;
}

/** Holds steps to expected ones, with a tolerance relative to the largest logit. */
export function expectSteps(found: number[][], expected: number[][], tolerance: number): void {
  expect(found).toHaveLength(expected.length);
  const largest = Math.max(...expected.flat().map(Math.abs));
  found.forEach((values, step) => {
    const scaled = (logits: number[]) => [...logits, largest];
    expectClose(scaled(values), scaled(expected[step]!), tolerance);
  });
}
