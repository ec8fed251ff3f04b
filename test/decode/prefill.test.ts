import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Prefill } from '../../src/decode/prefill.js';
import { tokensOf } from '../../src/decode/prompt-chunk.js';
import type { Streams } from '../../src/decode/streams.js';
import { type LoadedDecoder, loadDecoder } from '../../src/model/load-model.js';
import { CHECKPOINTS, checkpointDir } from '../support/checkpoints.js';
import { expectSameBits } from '../support/decoding.js';
import { advance, cacheOf } from '../support/steps.js';
import { expectNoLeak, useTensorFlow, valuesOf } from '../support/tensorflow.js';

useTensorFlow();

/** Ids that differ from each other. */
const ids = (count: number, from: number) =>
  Array.from({ length: count }, (_, i) => (7 * (from + i)) % 61);

describe.each(CHECKPOINTS)('the prompts of a query, %s', (name) => {
  let model: LoadedDecoder;
  beforeAll(async () => {
    model = await loadDecoder(checkpointDir(name));
  });
  afterAll(() => model.dispose());

  /** The logits after each prompt, with chunks of the given sizes in turn. */
  function logitsWith(
    query: Streams,
    sizes: readonly number[],
    known?: readonly number[],
  ): number[] {
    const cache = cacheOf(model, 2 * query.length);
    const rows = query.map((_, stream) => stream + 1);
    try {
      if (known) {
        // what the rows hold already
        const before = query.map((prompt, stream) => prompt.slice(0, known[stream]! + 1));
        const run = new Prefill(before, { cache, rows });
        while (!run.logits) advance(model, run, 512, cache);
        run.logits.dispose();
      }
      const prefill = new Prefill(query, { cache, rows, known });
      for (let chunk = 0; !prefill.logits; chunk++) {
        advance(model, prefill, sizes[chunk % sizes.length]!, cache);
      }
      return valuesOf(prefill.logits);
    } finally {
      cache.dispose();
    }
  }

  const shared = ids(21, 0);
  const query: Streams = [
    [...shared, ...ids(30, 50)],
    [...shared, ...ids(3, 90)],
    [...ids(40, 33)],
  ];

  test('have the same logits to the bit however they are cut', async () => {
    const whole = logitsWith(query, [512]);
    await expectNoLeak(() =>
      fc.assert(
        fc.property(fc.array(fc.integer({ min: 1, max: 70 }), { minLength: 1 }), (sizes) => {
          expectSameBits(logitsWith(query, sizes), whole);
        }),
        { numRuns: 6 },
      ),
    );
  });

  test('and whatever of them the rows held before', () => {
    const whole = logitsWith(query, [512]);
    for (const known of [
      [0, 0, 39],
      [50, 23, 39],
      [0, 22, 0],
      [21, 5, 17],
    ]) {
      expectSameBits(logitsWith(query, [16], known), whole);
    }
  });
});

test('a chunk has no more tokens than asked for, but one of each prompt', async () => {
  const model = await loadDecoder(checkpointDir('tiny-llama'));
  const cache = cacheOf(model, 2);
  const query = [ids(40, 0), ids(37, 3)];
  const prefill = new Prefill(query, { cache, rows: [0, 1] });
  let run = 0;
  while (!prefill.logits) {
    const tokens = tokensOf(advance(model, prefill, 9, cache));
    expect(tokens).toBeLessThanOrEqual(9);
    run += tokens;
  }
  expect(run).toBeGreaterThanOrEqual(77);
  prefill.logits.dispose();
  const one = new Prefill(query, { cache, rows: [0, 1] });
  expect(tokensOf(one.next(1))).toBeGreaterThanOrEqual(1);
  cache.dispose();
  model.dispose();
});
