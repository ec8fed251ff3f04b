import { type Tensor2D, tensor2d, tidy } from '@tensorflow/tfjs-core';
import { beforeEach, describe, expect, test } from 'vitest';
import { quantise } from '../../kernels/quantise/index.js';
import { quantiseReference } from '../../kernels/quantise/reference.js';
import { castTo } from '../../src/runtime/device-tensors.js';
import {
  dequantise,
  GROUP,
  type QuantisedBits,
  quantisedBytes,
  quantisedBytesOf,
  quantisedTensor,
  readHeader,
} from '../../src/runtime/quantised.js';
import { WITHOUT_NATIVE } from '../support/native.js';
import { Random } from '../support/random.js';
import { errorOf, expectNoLeak, useTensorFlow, valuesOf } from '../support/tensorflow.js';

useTensorFlow();

const BITS = [8, 4] as const;

/** [N, K, parts]: whole blocks and groups, and neither */
const SHAPES = [
  [1, 1, 1],
  [16, 32, 1],
  [5, 31, 1],
  [33, 65, 1],
  [32, 64, 2],
  [22, 100, 2],
  [48, 33, 3],
] as const;

/** Numbers as the weights of a layer are, and groups that are not: zeros, one sign, tiny, huge, one outlier. */
function weights(rows: number, columns: number): Float32Array {
  const values = new Random(rows * 1009 + columns).normals(rows * columns, 0.05);
  const odd = [
    () => 0,
    Math.abs,
    (x: number) => -Math.abs(x),
    (x: number) => x * 2 ** -140,
    (x: number) => x * 2 ** 125,
    (x: number, i: number) => (i % GROUP === 3 ? 40 : x),
  ];
  return values.map((x, i) => {
    const group = Math.floor(i / GROUP);
    return group % 3 === 2 ? odd[((group % 18) - 2) / 3]!(x, i) : x;
  });
}

const quantised = (weight: Tensor2D, bits: QuantisedBits, parts: number) => {
  const made = quantise({ weight, bits, parts });
  expect(made.shape).toEqual(weight.shape);
  const bytes = quantisedBytesOf(made);
  made.dispose();
  return bytes;
};

describe.each(BITS)('weights in %i bits', (bits) => {
  test.for(SHAPES)(
    '[%i, %i] in %i parts have the bytes of the reference',
    async ([N, K, parts], { skip }) => {
      skip(...WITHOUT_NATIVE);
      await expectNoLeak(() =>
        tidy(() => {
          for (const dtype of ['float32', 'bfloat16'] as const) {
            const wide = tensor2d(weights(N, K), [N, K]);
            const weight = dtype === 'float32' ? wide : (castTo(wide, dtype) as Tensor2D);
            const bytes = quantised(weight, bits, parts);
            const [expected] = quantiseReference({ weight }, { bits, parts });
            expect(Buffer.compare(bytes, Buffer.from(expected!.dataSync().buffer))).toBe(0);
            const shape = { bits, rows: N, columns: K, parts };
            expect(readHeader(bytes)).toEqual(shape);
            expect(bytes.byteLength).toBe(quantisedBytes(shape));
          }
        }),
      );
    },
  );

  test.for(SHAPES)('[%i, %i] in %i parts are the weights to half a step', ([N, K, parts]) => {
    tidy(() => {
      const values = weights(N, K);
      const back = dequantise(quantised(tensor2d(values, [N, K]), bits, parts));
      for (let n = 0; n < N; n++) {
        for (let k = 0; k < K; k += GROUP) {
          const group = values.subarray(n * K + k, n * K + Math.min(k + GROUP, K));
          const found = back.subarray(n * K + k, n * K + Math.min(k + GROUP, K));
          const errors = group.map((value, i) => Math.abs(value - found[i]!));
          const range = Math.max(...group, 0) - Math.min(...group, 0);
          // 8 bits: half of max / 127, and what rounding the scale to bfloat16 (2^-9) takes off the largest. 4 bits: the
          // range is cut to 11/16 of it at most, where the squares of all errors are less for it
          const size = Math.max(...group.map(Math.abs));
          if (bits === 8)
            expect(Math.max(...errors)).toBeLessThanOrEqual(
              size * (0.5 / 127 + 2 ** -8) + 2 ** -134,
            );
          else {
            const squares = errors.reduce((sum, error) => sum + error ** 2, 0) / group.length;
            expect(Math.sqrt(squares)).toBeLessThanOrEqual(
              range * (0.5 / 15 + 2 ** -8) + 2 ** -134,
            );
          }
        }
      }
    });
  });

  test('zeros stay zeros, and numbers of the grid what they are', () => {
    tidy(() => {
      const onGrid = (i: number) => (bits === 8 ? 127 - 8 * i : (i % 16) - 4);
      const grid = Float32Array.from({ length: 2 * GROUP }, (_, i) =>
        i < GROUP ? 0 : onGrid(i - GROUP),
      );
      const back = dequantise(quantised(tensor2d(grid, [1, 2 * GROUP]), bits, 1));
      expect([...back]).toEqual([...grid]);
    });
  });
});

describe('refuses', () => {
  beforeEach(({ skip }) => skip(...WITHOUT_NATIVE));

  test.each([Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY])(
    'a weight that is %d',
    async (value) => {
      const error = await errorOf(() =>
        tidy(() => quantise({ weight: tensor2d([[1, value]]), bits: 8 })),
      );
      expect(error.message).toContain('SdaQuantise: weights that are not finite.');
    },
  );

  test('rows that are not equal parts', async () => {
    const error = await errorOf(() =>
      tidy(() => quantise({ weight: tensor2d([1, 2, 3], [3, 1]), bits: 4, parts: 2 })),
    );
    expect(error.message).toContain('SdaQuantise: 3 rows are not 2 equal parts.');
  });
});

test('bytes without a header that fits them are no matrix', async () => {
  const made = tidy(() => quantisedBytesOf(quantise({ weight: tensor2d([[1, 2]]), bits: 8 })));
  const damaged = [
    made.slice(0, 32),
    made.slice(0, made.byteLength - 64),
    made.map((byte, i) => (i === 0 ? 0 : byte)),
    made.map((byte, i) => (i === 8 ? 5 : byte)),
    made.map((byte, i) => (i === 12 ? 0 : byte)),
    made.map((byte, i) => (i === 16 ? 255 : byte)),
  ];
  for (const bytes of damaged) {
    expect(await errorOf(() => quantisedTensor(bytes))).toMatchObject({
      code: 'bad-tensor',
      message: expect.stringContaining('A quantised matrix was expected'),
    });
  }
  expect(valuesOf(quantisedTensor(made)).length).toBe(made.byteLength / 4);
});
