import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { apart, joined } from '../../src/decode/joined-batch.js';
import type { PromptChunk } from '../../src/decode/prompt-chunk.js';
import { forward, type TokenBatch } from '../../src/model/decoder.js';
import { type LoadedDecoder, loadDecoder } from '../../src/model/load-model.js';
import { CHECKPOINTS, checkpointDir } from '../support/checkpoints.js';
import { expectSameBits } from '../support/decoding.js';
import { cacheOf } from '../support/steps.js';
import { expectNoLeak, useTensorFlow, valuesOf } from '../support/tensorflow.js';

useTensorFlow();

const P = -1;
const batchOf = (rows: number[], positions: number[], ids: number[]): TokenBatch => ({
  rows: Int32Array.from(rows),
  positions: Int32Array.from(positions),
  ids: Int32Array.from(ids),
});
const step = batchOf([3, 1], [7, 9], [11, 12]);

/** Tokens of rows 0 and 2, one of which is shorter. */
const chunkOf = (logits: PromptChunk['options']['logits']): PromptChunk => ({
  batch: batchOf([0, 2], [P, 4, 5, 6, 7, 8], [0, 21, 22, 31, 32, 33]),
  options: { logits, promptLength: 20 },
});

test('a step and a chunk are single tokens, the step first, without padding', () => {
  const { batch } = joined(step, chunkOf('none'));
  expect([...batch.ids]).toEqual([11, 12, 21, 22, 31, 32, 33]);
  expect([...batch.positions]).toEqual([7, 9, 4, 5, 6, 7, 8]);
  expect([...batch.rows]).toEqual([3, 1, 0, 0, 2, 2, 2]);
});

test.each([
  ['none', [0, 1]],
  ['last', [0, 1, 3, 6]],
  ['all', [0, 1, 2, 3, 4, 5, 6]],
] as const)('with logits %s of the chunk, lines %j are read', (logits, lines) => {
  expect(joined(step, chunkOf(logits)).read).toEqual(lines);
});

describe.each(CHECKPOINTS)('%s', (name) => {
  let model: LoadedDecoder;
  beforeAll(async () => {
    model = await loadDecoder(checkpointDir(name));
  });
  afterAll(() => model.dispose());

  /** Logits of a step of two streams and of two prompts' tokens, by one forward or by two; then of another step of all. */
  function logitsOf(together: boolean, lengths: readonly number[], before: number): number[] {
    const cache = cacheOf(model, 4);
    const id = (row: number, position: number) => (7 * row + 11 * position) % 61;
    const stretch = (rows: number[], ends: readonly number[], begin: number): TokenBatch => {
      const columns = Math.max(...ends) - begin;
      const places = rows.flatMap((row, line) =>
        Array.from({ length: columns }, (_, column) => {
          const position = ends[line]! - columns + column;
          return position < begin ? { row, position: P } : { row, position };
        }),
      );
      const positions = places.map(({ position }) => position);
      return batchOf(
        rows,
        positions,
        places.map((at) => id(at.row, Math.max(0, at.position))),
      );
    };
    const [a, b] = lengths as [number, number];
    const promptLength = before + Math.max(a, b);
    forward(model, stretch([0, 2], [before, before], 0), cache, { logits: 'none', promptLength });
    forward(model, stretch([1, 3], [5, 5], 0), cache, { logits: 'none' });
    const steps = batchOf([1, 3], [5, 5], [id(1, 5), id(3, 5)]);
    const chunk: PromptChunk = {
      batch: stretch([0, 2], [before + a, before + b], before),
      options: { logits: 'last', promptLength },
    };
    const read = () => {
      if (!together) {
        // rotary angles that depend on the length are those of the prompt: others do not run together
        const alone = forward(model, steps, cache, { logits: 'last', promptLength })!;
        return { step: alone, chunk: forward(model, chunk.batch, cache, chunk.options)! };
      }
      const both = joined(steps, chunk);
      return apart(forward(model, both.batch, cache, { logits: both.read, promptLength })!, 2);
    };
    const found = read();
    const next = batchOf([0, 1, 2, 3], [before + a, 6, before + b, 6], [1, 2, 3, 4]);
    const after = forward(model, next, cache, { logits: 'last' })!;
    cache.dispose();
    return [found.step, found.chunk!, after].flatMap((tensor) => valuesOf(tensor));
  }

  test('one forward of both has the bits of two, and leaves the same keys and values', async () => {
    const length = fc.integer({ min: 1, max: 20 });
    await expectNoLeak(() =>
      fc.assert(
        fc.property(
          fc.tuple(length, length),
          fc.integer({ min: 1, max: 30 }),
          (lengths, before) => {
            expectSameBits(logitsOf(true, lengths, before), logitsOf(false, lengths, before));
          },
        ),
        { numRuns: 12 },
      ),
    );
  });
});
