import { type Tensor, type Tensor1D, type Tensor2D, tensor, tidy } from '@tensorflow/tfjs-core';
import { describe, expect, test } from 'vitest';
import { type AttentionArgs, attention } from '../../kernels/attention/index.js';
import { attentionReference } from '../../kernels/attention/reference.js';
import type { ModelConfig } from '../../src/model/config.js';
import { KvCache } from '../../src/model/kv-cache.js';
import { rotations } from '../../src/model/rotation.js';
import { attr, executeOp, TfDtype } from '../../src/runtime/backend.js';
import { expectClose } from '../support/close.js';
import { Random } from '../support/random.js';
import { errorOf, expectNoLeak, useTensorFlow, valuesOf } from '../support/tensorflow.js';
import { TOLERANCE } from '../support/tolerances.js';

useTensorFlow();

interface Heads {
  readonly numHeads: number;
  readonly numKeyValueHeads: number;
  readonly headDim: number;
}

/** The part of a configuration that a cache and a rotation need. */
function configOf(heads: Heads): ModelConfig {
  const rope = { type: 'default', theta: 10_000 };
  return { ...heads, numLayers: 1, rope } as unknown as ModelConfig;
}

/** One call: the new positions of each cache row that takes part, in the order of `rows`. */
interface Call {
  readonly rows: readonly number[];
  readonly positions: readonly (readonly number[])[];
}

const P = -1; // padding

/** Prefill of ragged prompts, a chunk that continues them, then decoding, also of a subset in another order. */
const CALLS: readonly Call[] = [
  {
    rows: [0, 1, 2],
    positions: [
      [0, 1, 2, 3, 4],
      [P, P, 0, 1, 2],
      [P, P, P, P, 0],
    ],
  },
  {
    rows: [2, 0],
    positions: [
      [P, 1, 2],
      [5, 6, 7],
    ],
  },
  { rows: [0, 1, 2], positions: [[8], [3], [3]] },
  { rows: [1], positions: [[4]] },
  { rows: [2, 1], positions: [[4], [5]] },
];

function read(variable: Tensor): number[] {
  return valuesOf(
    executeOp('ReadVariableOp', [attr.type('dtype', TfDtype.float32)], [variable])[0]!,
  );
}

/** The lines of a result that belong to real tokens. */
function realLines(values: number[], call: Call, width: number): number[] {
  return call.positions
    .flat()
    .flatMap((position, line) =>
      position < 0 ? [] : values.slice(line * width, (line + 1) * width),
    );
}

interface Options {
  readonly window?: number;
  readonly norms?: boolean;
  readonly capacity?: number;
}

/** Random inputs of one call. The caller disposes them (use a tidy). */
function inputsOf(call: Call, heads: Heads, random: Random, cache: KvCache, options: Options) {
  const { numHeads, numKeyValueHeads, headDim } = heads;
  const [R, T] = [call.rows.length, call.positions[0]!.length];
  const positions = Int32Array.from(call.positions.flat());
  const norm = () => (options.norms ? random.vector(headDim) : undefined);
  return {
    qkv: random.matrix(R * T, (numHeads + 2 * numKeyValueHeads) * headDim),
    positions: tensor(positions, [R, T], 'int32') as Tensor2D,
    rows: tensor(Int32Array.from(call.rows), [R], 'int32') as Tensor1D,
    rotation: tensor(rotations(configOf(heads), positions), [R * T, headDim]) as Tensor2D,
    queryNorm: norm(),
    keyNorm: norm(),
    cache: cache.layer(0),
    ...heads,
    window: options.window ?? 0,
    epsilon: 1e-6,
  } satisfies AttentionArgs;
}

function runReference(args: AttentionArgs): Tensor {
  const { cache, numHeads, numKeyValueHeads, headDim, window, epsilon, ...tensors } = args;
  const attrs = { numHeads, numKeyValueHeads, headDim, window, epsilon };
  return attentionReference(
    {
      ...tensors,
      queryNorm: args.queryNorm,
      keyNorm: args.keyNorm,
      keys: cache.keys,
      values: cache.values,
    },
    { ...attrs, capacity: cache.capacity, cacheRows: cache.rows },
  )[0]!;
}

const HEADS: readonly Heads[] = [
  { numHeads: 4, numKeyValueHeads: 2, headDim: 12 },
  { numHeads: 4, numKeyValueHeads: 4, headDim: 16 },
  { numHeads: 4, numKeyValueHeads: 1, headDim: 20 },
  { numHeads: 9, numKeyValueHeads: 3, headDim: 64 },
  { numHeads: 3, numKeyValueHeads: 3, headDim: 128 },
  { numHeads: 1, numKeyValueHeads: 1, headDim: 2 },
];
const OPTIONS: readonly Options[] = [
  {},
  { window: 3 },
  { norms: true },
  { norms: true, window: 1 },
];

describe.each(HEADS)(
  'attention is its reference: $numHeads / $numKeyValueHeads heads of $headDim',
  (heads) => {
    test.each(OPTIONS)('%j', async (options) => {
      await expectNoLeak(() => {
        const random = new Random(heads.headDim);
        const [own, reference] = [0, 1].map(() => new KvCache(configOf(heads), 3, 9, 9));
        for (const call of CALLS) {
          tidy(() => {
            const args = inputsOf(call, heads, random, own!, options);
            const width = heads.numHeads * heads.headDim;
            const found = attention(args);
            expect(found.shape).toEqual([args.qkv.shape[0], width]);
            const expected = runReference({ ...args, cache: reference!.layer(0) });
            expectClose(
              realLines(valuesOf(found), call, width),
              realLines(valuesOf(expected), call, width),
              TOLERANCE.kernel,
            );
          });
        }
        expectClose(read(own!.layer(0).keys), read(reference!.layer(0).keys), TOLERANCE.kernel);
        expect(read(own!.layer(0).values)).toEqual(read(reference!.layer(0).values));
        for (const cache of [own!, reference!]) cache.dispose();
      });
    });
  },
);

describe('attention', () => {
  const heads = { numHeads: 2, numKeyValueHeads: 1, headDim: 4 };

  test('the first token of a stream takes its own values, for every query head', () => {
    const cache = new KvCache(configOf(heads), 1, 4, 4);
    const call = { rows: [0], positions: [[0]] };
    tidy(() => {
      const args = inputsOf(call, heads, new Random(1), cache, {});
      const own = [...args.qkv.dataSync().slice(12, 16)];
      expectClose(valuesOf(attention(args)), [...own, ...own], TOLERANCE.kernel);
    });
    cache.dispose();
  });

  test('equal keys share the weight evenly among what a token sees', () => {
    const cache = new KvCache(configOf(heads), 1, 8, 8);
    const call = { rows: [0], positions: [[0, 1, 2, 3]] };
    for (const [window, first] of [
      [0, 0],
      [2, 2],
      [9, 0],
    ] as const) {
      tidy(() => {
        const args = inputsOf(call, heads, new Random(1), cache, { window });
        // no key has any direction, and the values are 1, 2, 3, 4
        const qkv = tensor(
          [1, 2, 3, 4].flatMap((v) => [...Array(12).fill(0), v, v, v, v]),
          [4, 16],
        );
        const seen = valuesOf(attention({ ...args, qkv: qkv as Tensor2D })).slice(24);
        const mean = (first + 1 + 4) / 2;
        expectClose(seen, Array(8).fill(mean), TOLERANCE.kernel);
      });
    }
    cache.dispose();
  });

  test('scores of 1e4 give a finite result', () => {
    const cache = new KvCache(configOf(heads), 1, 4, 4);
    tidy(() => {
      const args = inputsOf({ rows: [0], positions: [[0, 1, 2]] }, heads, new Random(1), cache, {});
      const qkv = tensor(
        args.qkv.dataSync().map((v) => v * 200),
        [3, 16],
      ) as Tensor2D;
      expect(valuesOf(attention({ ...args, qkv })).every(Number.isFinite)).toBe(true);
    });
    cache.dispose();
  });

  test.each<[string, Call]>([
    ['a position beyond the capacity', { rows: [0, 1], positions: [[1], [4]] }],
    ['a position below -1', { rows: [0, 1], positions: [[1], [-2]] }],
    ['a row that the cache lacks', { rows: [0, 2], positions: [[1], [1]] }],
    ['a negative row', { rows: [-1, 1], positions: [[1], [1]] }],
    ['one row twice', { rows: [1, 1], positions: [[1], [1]] }],
  ])('refuses %s and writes nothing', async (_, call) => {
    await expectNoLeak(async () => {
      const cache = new KvCache(configOf(heads), 2, 4, 4);
      const before = read(cache.layer(0).keys);
      const plain = { rows: [0, 1], positions: call.positions.map((line) => line.map(() => 0)) };
      const error = await errorOf(() =>
        tidy(() => {
          const args = inputsOf(plain, heads, new Random(1), cache, {});
          const positions = tensor(call.positions.flat(), args.positions.shape, 'int32');
          const rows = tensor([...call.rows], [2], 'int32');
          attention({ ...args, positions: positions as Tensor2D, rows: rows as Tensor1D });
        }),
      );
      expect(error).toBeInstanceOf(Error);
      expect((error as Error).message).toMatch(/positions|rows/);
      expect(read(cache.layer(0).keys)).toEqual(before);
      cache.dispose();
    });
  });

  test.each<[string, (args: AttentionArgs) => Partial<AttentionArgs>, string]>([
    [
      'rows',
      () => ({ rows: tensor([0, 1], [2], 'int32') as Tensor1D }),
      'rows must have the shape [1], but has [2].',
    ],
    [
      'qkv',
      () => ({ qkv: tensor(Array(15).fill(0), [1, 15]) as Tensor2D }),
      'qkv must have the shape [1, 16], but has [1, 15].',
    ],
    [
      'rotation',
      () => ({ rotation: tensor([0, 0], [1, 2]) as Tensor2D }),
      'rotation must have the shape [1, 4], but has [1, 2].',
    ],
    [
      'queryNorm',
      () => ({ queryNorm: tensor([1], [1]) as Tensor1D }),
      'queryNorm must have the shape [4], but has [1].',
    ],
    [
      'keyNorm',
      () => ({ keyNorm: tensor([1], [1]) as Tensor1D }),
      'keyNorm must have the shape [4], but has [1].',
    ],
  ])('names a wrong %s', async (_, wrong, message) => {
    const cache = new KvCache(configOf(heads), 2, 4, 4);
    const error = await errorOf(() =>
      tidy(() => {
        const args = inputsOf({ rows: [0], positions: [[0]] }, heads, new Random(1), cache, {});
        attention({ ...args, ...wrong(args) });
      }),
    );
    expect(error).toMatchObject({ code: 'bad-tensor', message: `attention: ${message}` });
    cache.dispose();
  });
});
