import { memory, type Tensor, tidy } from '@tensorflow/tfjs-core';
import { describe, expect, test } from 'vitest';
import type { ModelConfig } from '../../src/model/config.js';
import { KvCache, kvBytesPerToken } from '../../src/model/kv-cache.js';
import { KV_DTYPES, type KvDtype } from '../../src/model/kv-dtype.js';
import { attr, executeOp, TfDtype } from '../../src/runtime/backend.js';
import { castTo, float32Tensor } from '../../src/runtime/device-tensors.js';
import { type BindingCall, failingAt as failingCall } from '../support/failing.js';
import { expectNoLeak, useTensorFlow, valuesOf } from '../support/tensorflow.js';

useTensorFlow();

const CONFIG = { numLayers: 2, numKeyValueHeads: 3, headDim: 4 } as ModelConfig;
const typeOf = (dtype: KvDtype) => [attr.type('dtype', TfDtype[dtype])];

function read(variable: Tensor, dtype: KvDtype): { shape: number[]; values: number[] } {
  const tensor = executeOp('ReadVariableOp', typeOf(dtype), [variable])[0]!;
  const wide = castTo(tensor, 'float32');
  tensor.dispose();
  return { shape: wide.shape, values: valuesOf(wide) };
}

/** Fills a variable with 1, 2, ..., 251, 1, ... */
function fill(variable: Tensor, dtype: KvDtype): number[] {
  const { shape, values } = read(variable, dtype);
  const counted = values.map((_, i) => 1 + (i % 251));
  tidy(() => {
    const tensor = castTo(float32Tensor(Float32Array.from(counted), shape), dtype);
    executeOp('AssignVariableOp', typeOf(dtype), [variable, tensor], 0);
  });
  return counted;
}

describe.each(KV_DTYPES)('a cache of %s', (dtype) => {
  test('starts with zeros and a capacity in whole blocks, at most its maximum', async () => {
    await expectNoLeak(() => {
      for (const [capacity, most, expected] of [
        [1, 1000, 64],
        [64, 1000, 64],
        [65, 1000, 128],
        [10, 20, 20],
        [100, 100, 100],
      ] as const) {
        const cache = new KvCache(CONFIG, 2, capacity, most, dtype);
        expect(cache.capacity).toBe(expected);
        const layer = cache.layer(1);
        expect(layer).toMatchObject({ rows: 2, capacity: expected });
        for (const variable of [layer.keys, layer.values]) {
          const { shape, values } = read(variable, dtype);
          expect(shape).toEqual([2, 3, expected, 4]);
          expect(values.every((value) => value === 0)).toBe(true);
        }
        cache.dispose();
      }
    });
  });

  test('growth keeps the past, at least doubles and stops at the maximum', async () => {
    await expectNoLeak(() => {
      const cache = new KvCache(CONFIG, 2, 1, 150, dtype);
      const past = fill(cache.layer(1).keys, dtype);
      cache.ensure(64);
      expect(cache.capacity).toBe(64);
      for (const [length, expected] of [
        [65, 128],
        [129, 150],
        [150, 150],
      ] as const) {
        cache.ensure(length);
        expect(cache.capacity).toBe(expected);
        const { shape, values } = read(cache.layer(1).keys, dtype);
        expect(shape).toEqual([2, 3, expected, 4]);
        for (let line = 0; line < 2 * 3; line++) {
          const found = values.slice(line * expected * 4, (line + 1) * expected * 4);
          expect(found.slice(0, 64 * 4)).toEqual(past.slice(line * 64 * 4, (line + 1) * 64 * 4));
          expect(found.slice(64 * 4).every((value) => value === 0)).toBe(true);
        }
      }
      cache.dispose();
    });
  });

  test('copyRow copies the given positions of one row, in every layer, and nothing else', async () => {
    await expectNoLeak(() => {
      const cache = new KvCache(CONFIG, 3, 5, 5, dtype);
      const variables = [0, 1].flatMap((layer) => [
        cache.layer(layer).keys,
        cache.layer(layer).values,
      ]);
      const before = variables.map((variable) => fill(variable, dtype));
      cache.copyRow(2, 0, 3);
      variables.forEach((variable, index) => {
        const expected = [...before[index]!];
        for (let head = 0; head < 3; head++) {
          for (let i = 0; i < 3 * 4; i++) {
            expected[head * 20 + i] = before[index]![2 * 60 + head * 20 + i]!;
          }
        }
        expect(read(variable, dtype).values).toEqual(expected);
      });
      cache.dispose();
    });
  });

  test('two caches of one shape are independent', () => {
    const [first, second] = [0, 1].map(() => new KvCache(CONFIG, 1, 1, 5, dtype)) as [
      KvCache,
      KvCache,
    ];
    fill(first.layer(0).keys, dtype);
    expect(read(second.layer(0).keys, dtype).values.every((value) => value === 0)).toBe(true);
    expect(read(first.layer(1).keys, dtype).values.every((value) => value === 0)).toBe(true);
    first.dispose();
    second.dispose();
  });

  test('kvBytesPerToken is what one position of one row takes', () => {
    const bytes = dtype === 'float32' ? 4 : 2;
    expect(kvBytesPerToken(CONFIG, dtype)).toBe(2 * 2 * 3 * 4 * bytes);
  });
});

/** Runs `body` while call number `at` of TensorFlow fails; whether it came to that. */
async function failingAt(at: number, call: BindingCall, body: () => void): Promise<boolean> {
  const { failed, error } = await failingCall(at, call, body);
  expect(error).toEqual(failed ? new Error('OOM') : undefined);
  return failed;
}

describe.each(KV_DTYPES)('an operation on a cache of %s that fails half way', (dtype) => {
  test('leaves nothing of a cache that was being made', async () => {
    let at = 0;
    await expectNoLeak(async () => {
      const make = () => new KvCache(CONFIG, 2, 1, 150, dtype).dispose();
      while (await failingAt(at, 'executeOp', make)) at++;
    });
    // a handle and its zeros (narrow ones are cast and filled in), for keys and values of 2 layers
    expect(at).toBe(2 * 2 * (dtype === 'float32' ? 2 : 4));
  });

  test('leaves a cache that can grow once more, and keeps its past', async () => {
    for (let at = 0, failed = true; failed; at++) {
      await expectNoLeak(async () => {
        const cache = new KvCache(CONFIG, 1, 1, 150, dtype);
        const variables = [0, 1].flatMap((layer) => {
          const { keys, values } = cache.layer(layer);
          return [keys, values];
        });
        const pasts = variables.map((variable) => fill(variable, dtype));
        const before = memory().numTensors;
        failed = await failingAt(at, 'executeOp', () => cache.ensure(65));
        expect(memory().numTensors).toBe(before);
        expect(cache.capacity).toBe(failed ? 64 : 128);
        cache.ensure(65);
        expect(cache.capacity).toBe(128);
        variables.forEach((variable, index) => {
          const { shape, values } = read(variable, dtype);
          expect(shape).toEqual([1, 3, 128, 4]);
          for (let head = 0; head < 3; head++) {
            const found = values.slice(head * 128 * 4, (head + 1) * 128 * 4);
            const past = pasts[index]!.slice(head * 64 * 4, (head + 1) * 64 * 4);
            expect(found).toEqual([...past, ...Array(64 * 4).fill(0)]);
          }
        });
        cache.dispose();
      });
    }
  });

  test('leaves nothing of a copied row', async () => {
    const cache = new KvCache(CONFIG, 2, 1, 150, dtype);
    await expectNoLeak(async () => {
      for (let at = 0; await failingAt(at, 'executeOp', () => cache.copyRow(0, 1, 3)); at++);
    });
    cache.dispose();
  });

  test('leaves no rotary angles that are used once more', async () => {
    await expectNoLeak(async () => {
      const rope = { type: 'dynamic', theta: 10000, factor: 2, originalMaxPosition: 64 } as const;
      const cache = new KvCache({ ...CONFIG, rope } as ModelConfig, 1, 150, 150);
      const values = [...cache.rotation(1).dataSync()];
      // longer than trained: another table
      expect(await failingAt(0, 'createTensor', () => cache.rotation(100))).toBe(true);
      const table = cache.rotation(1);
      expect(table.isDisposed).toBe(false);
      expect([...table.dataSync()]).toEqual(values);
      cache.dispose();
      cache.dispose(); // twice is once
    });
  });
});
