import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { ModelRows } from '../../src/decode/model-rows.js';
import type { PromptChunk } from '../../src/decode/prompt-chunk.js';
import { type Decoding, type Running, start } from '../../src/decode/running.js';
import { StepLogits } from '../../src/decode/step-logits.js';
import { resolveSettings } from '../../src/method/settings.js';
import { sdaRule } from '../../src/method/step.js';
import { type LoadedDecoder, loadDecoder } from '../../src/model/load-model.js';
import { checkpointDir } from '../support/checkpoints.js';
import { expectSameBits } from '../support/decoding.js';
import { WITHOUT_NATIVE } from '../support/native.js';
import { expectNoLeak, useTensorFlow, valuesOf } from '../support/tensorflow.js';

useTensorFlow();

const prompts = [
  [1, 2, 3],
  [1, 2, 3, 4, 5],
] as const;
let model: LoadedDecoder;
beforeAll(async () => {
  model = await loadDecoder(checkpointDir('tiny-llama'));
});
afterAll(() => model.dispose());

/** A query that has drawn a token, with its rows in the cache. */
function running(rows: ModelRows): Running {
  const { seat, arrivals } = rows.seat(prompts, [0, 1])!;
  for (const { prefill } of arrivals) {
    while (!prefill.logits) {
      const chunk = prefill.next(64);
      prefill.ran(chunk, rows.bringIn(chunk));
    }
    prefill.logits.dispose();
  }
  const query = { streams: prompts, settings: {}, seed: 1, maxTokens: 9 };
  const rule = sdaRule(resolveSettings({})) as unknown as Decoding['rule'];
  const decoding = { rule, models: [model, model], stopIds: new Set<number>(), maxContext: 64 };
  const begun = start({ index: 0, query, decoding, taps: [] }, [seat], 0);
  begun.drawn.push(7);
  begun.steps = 1;
  return begun;
}

/** The step's logits, and what is read of a chunk that may come beside it. */
async function stepWith(chunkOf: (row: number) => PromptChunk | undefined) {
  const rows = new ModelRows(model, { rows: 3, capacity: 64, most: 64 }, {});
  const query = running(rows);
  const chunk = chunkOf(rows.pool.take());
  const logits = new StepLogits();
  const read = rows.forward([query], undefined, logits, chunk);
  const values = await logits.use([query], async (tensor) => valuesOf(tensor));
  logits.dispose();
  rows.dispose();
  return { step: values, chunk: read && valuesOf(read) };
}

const ids = Int32Array.of(9, 8, 7, 6);
const chunkAt = (positions: readonly number[], row: number): PromptChunk => ({
  batch: { ids, positions: Int32Array.from(positions), rows: Int32Array.of(row) },
  options: { logits: 'last', promptLength: 4 },
});

describe('a step with a chunk of a prompt beside it', () => {
  beforeEach(({ skip }) => skip(...WITHOUT_NATIVE));

  test('has the bits of the step alone, and says what is read of the chunk', async () => {
    const alone = await stepWith(() => undefined);
    await expectNoLeak(async () => {
      const both = await stepWith((row) => chunkAt([0, 1, 2, 3], row));
      expectSameBits(both.step, alone.step);
      expect(both.chunk).toHaveLength(model.config.vocabSize);
    });
  });

  test('is run alone where both together fail', async () => {
    const alone = await stepWith(() => undefined);
    await expectNoLeak(async () => {
      const twice = await stepWith((row) => chunkAt([0, 1, 1, 2], row));
      expectSameBits(twice.step, alone.step);
      expect(twice.chunk).toBeUndefined();
    });
  });

  test('is run alone where the chunk reads inside the model, and the step does not', async () => {
    const found = await stepWith((row) => {
      const { batch, options } = chunkAt([0, 1, 2, 3], row);
      return { batch, options: { ...options, taps: [1] } };
    });
    expect(found.chunk).toBeUndefined();
  });
});
