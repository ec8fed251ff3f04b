import {
  mul,
  type Tensor,
  type Tensor1D,
  type Tensor2D,
  tensor,
  tensor1d,
  tensor2d,
  tidy,
} from '@tensorflow/tfjs-core';
import { describe, expect, test } from 'vitest';
import {
  type LayerCache,
  type SelfAttentionArgs,
  selfAttention,
} from '../../kernels/self-attention/index.js';
import { selfAttentionReference } from '../../kernels/self-attention/reference.js';
import type { ModelConfig } from '../../src/model/config.js';
import { KvCache } from '../../src/model/kv-cache.js';
import { rotations } from '../../src/model/rotation.js';
import { attr, type DeviceDtype, executeOp, TfDtype } from '../../src/runtime/backend.js';
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
  readonly headNorms?: boolean;
  readonly biases?: boolean;
  readonly dtype?: DeviceDtype;
}

const HIDDEN = 37;

/** Random inputs of one call. The caller disposes them (use a tidy). */
function inputsOf(
  call: Call,
  heads: Heads,
  random: Random,
  cache: KvCache,
  options: Options,
): SelfAttentionArgs {
  const { numHeads, numKeyValueHeads, headDim } = heads;
  const { window = 0, headNorms = false, biases = false, dtype = 'float32' } = options;
  const [R, T] = [call.rows.length, call.positions[0]!.length];
  const width = (numHeads + 2 * numKeyValueHeads) * headDim;
  const positions = Int32Array.from(call.positions.flat());
  return {
    x: random.matrix(R * T, HIDDEN),
    norm: { weight: random.vector(HIDDEN), epsilon: 1e-6 },
    qkv: random.matrix(width, HIDDEN, 2 / Math.sqrt(HIDDEN), dtype),
    qkvBias: biases ? random.vector(width) : undefined,
    o: random.matrix(HIDDEN, numHeads * headDim, 1 / Math.sqrt(headDim), dtype),
    oBias: biases ? random.vector(HIDDEN) : undefined,
    queryNorm: headNorms ? random.vector(headDim) : undefined,
    keyNorm: headNorms ? random.vector(headDim) : undefined,
    places: {
      positions: tensor(positions, [R, T], 'int32') as Tensor2D,
      rows: tensor(Int32Array.from(call.rows), [R], 'int32') as Tensor1D,
      rotation: tensor(rotations(configOf(heads), positions), [R * T, headDim]) as Tensor2D,
    },
    cache: cache.layer(0),
    heads: { ...heads, window },
  };
}

function runReference(args: SelfAttentionArgs, cache: LayerCache): Tensor {
  const { norm, places, heads, qkvBias, oBias, queryNorm, keyNorm, x, qkv, o } = args;
  const { keys, values, capacity, rows: cacheRows } = cache;
  const inputs = { x, qkv, o, qkvBias, oBias, queryNorm, keyNorm, ...places, keys, values };
  const attrs = { ...heads, epsilon: norm.epsilon, capacity, cacheRows };
  return selfAttentionReference({ ...inputs, norm: norm.weight }, attrs)[0]!;
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
  { window: 3, dtype: 'bfloat16' },
  { headNorms: true, biases: true },
  { headNorms: true, window: 1, dtype: 'float16' },
  { biases: true, dtype: 'bfloat16' },
];

describe.each(HEADS)(
  'self-attention is its reference: $numHeads / $numKeyValueHeads heads of $headDim',
  (heads) => {
    test.each(OPTIONS)('%j', async (options) => {
      await expectNoLeak(() => {
        const random = new Random(heads.headDim);
        const [own, reference] = [0, 1].map(() => new KvCache(configOf(heads), 3, 9, 9));
        for (const call of CALLS) {
          tidy(() => {
            const args = inputsOf(call, heads, random, own!, options);
            const found = selfAttention(args);
            expect(found.shape).toEqual(args.x.shape);
            const expected = runReference(args, reference!.layer(0));
            expectClose(
              realLines(valuesOf(found), call, HIDDEN),
              realLines(valuesOf(expected), call, HIDDEN),
              TOLERANCE.kernel,
            );
          });
        }
        for (const part of ['keys', 'values'] as const) {
          expectClose(read(own!.layer(0)[part]), read(reference!.layer(0)[part]), TOLERANCE.kernel);
        }
        for (const cache of [own!, reference!]) cache.dispose();
      });
    });
  },
);

describe('selfAttention', () => {
  const heads = { numHeads: 2, numKeyValueHeads: 1, headDim: 4 };

  test('equal keys share the weight evenly among what a token sees', () => {
    const cache = new KvCache(configOf(heads), 1, 8, 8);
    const call = { rows: [0], positions: [[0, 1, 2, 3]] };
    // x = (c, sqrt(1 - c^2)) has an RMS of sqrt(1/2); keys are 0, every value is c, and o takes the first
    const c = [0.1, 0.2, 0.3, 0.6];
    for (const [window, first] of [
      [0, 0],
      [2, 2],
      [1, 3],
      [9, 0],
    ] as const) {
      tidy(() => {
        const args = inputsOf(call, heads, new Random(1), cache, { window });
        const zeros = Array(12).fill([0, 0]);
        const found = valuesOf(
          selfAttention({
            ...args,
            x: tensor2d(c.map((value) => [value, Math.sqrt(1 - value * value)])),
            norm: { weight: tensor1d([1, 1]), epsilon: 0 },
            qkv: tensor2d([...zeros, ...Array(4).fill([Math.SQRT1_2, 0])]),
            o: tensor2d([[1, ...Array(7).fill(0)], Array(8).fill(0)]),
          }),
        );
        const seen = c.slice(first);
        const mean = seen.reduce((a, b) => a + b) / seen.length;
        expectClose([found[6]!, found[0]!], [c[3]! + mean, 2 * c[0]!], TOLERANCE.kernel);
      });
    }
    cache.dispose();
  });

  test('scores of 1e4 give a finite result', () => {
    const cache = new KvCache(configOf(heads), 1, 4, 4);
    tidy(() => {
      const args = inputsOf({ rows: [0], positions: [[0, 1, 2]] }, heads, new Random(1), cache, {});
      const qkv = mul(args.qkv, 100) as Tensor2D;
      expect(valuesOf(selfAttention({ ...args, qkv })).every(Number.isFinite)).toBe(true);
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
          const { shape } = args.places.positions;
          const positions = tensor(call.positions.flat(), shape, 'int32') as Tensor2D;
          const rows = tensor([...call.rows], [2], 'int32') as Tensor1D;
          selfAttention({ ...args, places: { ...args.places, positions, rows } });
        }),
      );
      expect(error).toBeInstanceOf(Error);
      expect((error as Error).message).toMatch(/positions|rows/);
      expect(read(cache.layer(0).keys)).toEqual(before);
      cache.dispose();
    });
  });

  test.each<[string, (args: SelfAttentionArgs) => Partial<SelfAttentionArgs>, string]>([
    [
      'number of rows',
      ({ places }) => ({
        places: { ...places, rows: tensor([0, 1], [2], 'int32') as Tensor1D },
      }),
      'rows must have the shape [1], but has [2].',
    ],
    [
      'x',
      () => ({ x: tensor2d([Array(HIDDEN).fill(0), Array(HIDDEN).fill(0)]) }),
      'x must have the shape [1, any], but has [2, 37].',
    ],
    [
      'norm',
      () => ({ norm: { weight: tensor1d([1]), epsilon: 0 } }),
      'norm must have the shape [37], but has [1].',
    ],
    ['qkv', () => ({ qkv: tensor2d([[1]]) }), 'qkv must have the shape [16, 37], but has [1, 1].'],
    [
      'qkvBias',
      () => ({ qkvBias: tensor1d([1]) }),
      'qkvBias must have the shape [16], but has [1].',
    ],
    ['o', () => ({ o: tensor2d([[1]]) }), 'o must have the shape [37, 8], but has [1, 1].'],
    ['oBias', () => ({ oBias: tensor1d([1]) }), 'oBias must have the shape [37], but has [1].'],
    [
      'rotation',
      ({ places }) => ({ places: { ...places, rotation: tensor2d([[0, 0]]) } }),
      'rotation must have the shape [1, 4], but has [1, 2].',
    ],
    [
      'queryNorm',
      () => ({ queryNorm: tensor1d([1]) }),
      'queryNorm must have the shape [4], but has [1].',
    ],
    [
      'keyNorm',
      () => ({ queryNorm: tensor1d([1, 1, 1, 1]), keyNorm: tensor1d([1]) }),
      'keyNorm must have the shape [4], but has [1].',
    ],
  ])('names a wrong %s', async (_, wrong, message) => {
    const cache = new KvCache(configOf(heads), 2, 4, 4);
    const error = await errorOf(() =>
      tidy(() => {
        const args = inputsOf({ rows: [0], positions: [[0]] }, heads, new Random(1), cache, {});
        selfAttention({ ...args, ...wrong(args) });
      }),
    );
    expect(error).toMatchObject({ code: 'bad-tensor', message: `selfAttention: ${message}` });
    cache.dispose();
  });
});
