import { tensor1d } from '@tensorflow/tfjs-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { makeDecoderLayer } from '../../kernels/decoder-layer/index.js';
import { chunks, PREFILL_CHUNK } from '../../src/decode/streams.js';
import { type DecoderModel, forward } from '../../src/model/decoder.js';
import type { WeightDtype } from '../../src/model/load.js';
import { type LoadedDecoder, loadDecoder } from '../../src/model/load-model.js';
import { hasNativeKernel } from '../../src/runtime/native.js';
import {
  batchOf,
  CHECKPOINTS,
  checkpointDir,
  type Golden,
  golden,
  MISTRAL_DIR,
  mistralGolden,
} from '../support/checkpoints.js';
import { expectClose } from '../support/close.js';
import { cacheOf, expectSteps, stepsAlone } from '../support/steps.js';
import { expectNoLeak, useTensorFlow, valuesOf } from '../support/tensorflow.js';
import { TOLERANCE } from '../support/tolerances.js';

useTensorFlow();

/** The same for the two ragged rows of `forced`, as one left-padded batch. */
function stepsTogether(model: DecoderModel, { forced }: Golden): number[][][] {
  const prompts = forced.rows.map(({ prompt }) => prompt);
  const cache = cacheOf(model, prompts.length);
  const steps = [prompts, ...forced.ids.map((id) => prompts.map(() => [id]))];
  const V = model.config.vocabSize;
  const lines = steps.map((lines, step) => {
    const starts = prompts.map((prompt) => (step === 0 ? 0 : prompt.length + step - 1));
    const values = valuesOf(forward(model, batchOf(lines, starts), cache, { logits: 'last' })!);
    return prompts.map((_, row) => values.slice(row * V, (row + 1) * V));
  });
  cache.dispose();
  return prompts.map((_, row) => lines.map((step) => step[row]!));
}

describe.each(CHECKPOINTS)('%s has the logits of transformers', (name) => {
  const expected = golden(name);

  describe.each<[WeightDtype, number]>([
    ['auto', TOLERANCE.logits], // 16-bit weights as stored: products are float32, so the golden is exact for them
    ['float32', TOLERANCE.logits],
    ['bfloat16', TOLERANCE.bfloat16Logits],
  ])('dtype %s', (dtype, tolerance) => {
    let model: LoadedDecoder;
    beforeAll(async () => {
      model = await loadDecoder(checkpointDir(name), { dtype });
    });
    afterAll(() => model.dispose());

    test('prefill and 16 cached steps alone', async () => {
      const { prompt, ids, logits } = expected.greedy;
      expectSteps(await expectNoLeak(() => stepsAlone(model, prompt, ids)), logits, tolerance);
    });

    test('each row of a left-padded batch', async () => {
      const rows = await expectNoLeak(() => stepsTogether(model, expected));
      expected.forced.rows.forEach(({ logits }, row) => {
        expectSteps(rows[row]!, logits, tolerance);
      });
    });

    test('each row of a batch to the bit as it is alone', ({ skip }) => {
      skip(!hasNativeKernel('SdaLinear'), 'TensorFlow’s own products depend on the batch');
      const rows = stepsTogether(model, expected);
      const { ids } = expected.forced;
      const alone = expected.forced.rows.map(({ prompt }) => stepsAlone(model, prompt, ids));
      expect(rows).toEqual(alone);
    });
  });
});

describe('tiny-mistral', () => {
  let model: LoadedDecoder;
  beforeAll(async () => {
    model = await loadDecoder(MISTRAL_DIR);
  });
  afterAll(() => model.dispose());

  test('its sliding window has the logits of transformers, in prefill and in 16 cached steps', () => {
    const { prompt, ids, logits } = mistralGolden().greedy;
    expect(prompt.length).toBeGreaterThan(model.config.slidingWindow!);
    expectSteps(stepsAlone(model, prompt, ids), logits, TOLERANCE.logits);
  });

  test('a window as large as the context is none', () => {
    const { prompt, ids } = mistralGolden().greedy;
    const stepsWith = (window: number) => {
      const layers = model.weights.layers.map(({ tensors, shape }) =>
        makeDecoderLayer(tensors, { ...shape, window }),
      );
      const changed = { config: model.config, weights: { ...model.weights, layers } };
      try {
        return stepsAlone(changed, prompt, ids);
      } finally {
        for (const { handle } of layers) handle?.dispose();
      }
    };
    const none = stepsWith(0);
    expectSteps(stepsWith(64), none, TOLERANCE.sameModel);
    const last = none.at(-1)!;
    const narrow = stepsWith(2).at(-1)!;
    expect(Math.max(...narrow.map((value, id) => Math.abs(value - last[id]!)))).toBeGreaterThan(
      0.1,
    );
  });
});

describe('forward', () => {
  let model: LoadedDecoder;
  beforeAll(async () => {
    model = await loadDecoder(checkpointDir('tiny-llama-tied')); // a context of 512
  });
  afterAll(() => model.dispose());
  const long = (length: number) => Array.from({ length }, (_, i) => 6 + ((i * i + 3 * i) % 90));

  test('a prompt in pieces equals one pass', () => {
    const ids = long(70);
    const pieces = (lengths: readonly number[]) => {
      const cache = cacheOf(model, 1);
      let position = 0;
      let last: number[] = [];
      for (const length of lengths) {
        const batch = batchOf([ids.slice(position, position + length)], [position]);
        position += length;
        last = valuesOf(forward(model, batch, cache, { logits: 'last' })!);
      }
      cache.dispose();
      return last;
    };
    const whole = pieces([70]);
    for (const lengths of [[1, 69], [35, 35], [64, 6], [69, 1], Array(70).fill(1)]) {
      expectClose(pieces(lengths), whole, TOLERANCE.sameModel);
    }
  });

  test('a ragged batch longer than a prefill chunk equals its rows alone', () => {
    const config = { ...model.config, maxPositionEmbeddings: 2048 };
    const roomy = { weights: model.weights, config };
    const prompts = [long(PREFILL_CHUNK + 40), long(30).reverse(), long(PREFILL_CHUNK + 1)];
    const run = (stretches: readonly (readonly number[])[], expectedBatches: number) => {
      const cache = cacheOf(roomy, stretches.length, 1, 2048);
      const batches = chunks(stretches.map((ids, row) => ({ row, ids, start: 0 })));
      expect(batches.length).toBe(expectedBatches);
      for (const batch of batches.slice(0, -1)) {
        expect(forward(roomy, batch, cache, { logits: 'none' })).toBeNull();
      }
      const values = valuesOf(forward(roomy, batches.at(-1)!, cache, { logits: 'last' })!);
      cache.dispose();
      return values;
    };
    const V = config.vocabSize;
    const together = run(prompts, 3); // the last 30 tokens of all, 483 of two, 39 of the longest
    prompts.forEach((prompt, row) => {
      const alone = run([prompt], prompt.length > PREFILL_CHUNK ? 2 : 1);
      expectClose(together.slice(row * V, (row + 1) * V), alone, TOLERANCE.sameModel);
    });
  });

  test('the cache grows over its blocks without changing a logit', () => {
    const ids = long(150);
    const run = (capacity: number) => {
      const cache = cacheOf(model, 2, capacity, 400);
      const first = batchOf([ids.slice(0, 60), ids.slice(3, 10)], [0, 0]);
      const lines = [valuesOf(forward(model, first, cache, { logits: 'last' })!)];
      for (let step = 0; step < 90; step++) {
        const next = batchOf([[ids[60 + step]!], [ids[10 + step]!]], [60 + step, 7 + step]);
        lines.push(valuesOf(forward(model, next, cache, { logits: 'last' })!));
      }
      const reached = cache.capacity;
      cache.dispose();
      return { lines, reached };
    };
    const [small, large] = [run(1), run(400)];
    expect(small.reached).toBeGreaterThanOrEqual(150);
    expect(small.reached).toBeLessThan(large.reached);
    expectSteps(small.lines, large.lines, TOLERANCE.sameModel);
  });

  test('the logit bias is added, and masks', () => {
    const batch = () => batchOf([[7, 8, 9]], [0]);
    const run = (logitBias?: ReturnType<typeof tensor1d>) => {
      const cache = cacheOf(model, 1);
      const values = valuesOf(forward(model, batch(), cache, { logits: 'last', logitBias })!);
      cache.dispose();
      return values;
    };
    const bias = Array<number>(model.config.vocabSize).fill(0);
    bias[3] = Number.NEGATIVE_INFINITY;
    bias[4] = 2;
    const added = tensor1d(bias);
    const plain = run();
    expectClose(
      run(added),
      plain.map((value, id) => value + bias[id]!),
      TOLERANCE.sameModel,
    );
    added.dispose();
  });

  test('a row of the cache is not touched by the others', () => {
    const cache = cacheOf(model, 3);
    const ids = long(12);
    valuesOf(forward(model, batchOf([ids], [0], [1]), cache, { logits: 'last' })!);
    valuesOf(
      forward(model, batchOf([ids.slice(5), ids], [0, 0], [2, 0]), cache, { logits: 'last' })!,
    );
    const next = valuesOf(forward(model, batchOf([[9]], [12], [1]), cache, { logits: 'last' })!);
    cache.dispose();
    expectClose(next, stepsAlone(model, ids, [9])[1]!, TOLERANCE.sameModel);
  });
});
