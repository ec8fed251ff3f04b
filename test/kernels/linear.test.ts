import { slice, tensor1d, tensor2d, tidy } from '@tensorflow/tfjs-core';
import { beforeEach, describe, expect, test } from 'vitest';
import { linear } from '../../kernels/linear/index.js';
import { linearReference } from '../../kernels/linear/reference.js';
import { tensorFromBytes } from '../../src/runtime/device-tensors.js';
import { hasNativeKernel } from '../../src/runtime/native.js';
import { expectClose } from '../support/close.js';
import { WITHOUT_NATIVE } from '../support/native.js';
import { Random } from '../support/random.js';
import { errorOf, expectNoLeak, useTensorFlow, valuesOf } from '../support/tensorflow.js';
import { TOLERANCE } from '../support/tolerances.js';

useTensorFlow();

const DTYPES = ['float32', 'bfloat16', 'float16'] as const;

/** [M, K, N] */
const SHAPES = [
  [1, 1, 1],
  [1, 576, 192],
  [2, 7, 5],
  [2, 48, 131],
  [2, 577, 33],
  [3, 31, 64],
  [5, 100, 17],
  [8, 129, 40],
  [17, 65, 129],
  [64, 96, 70],
  [130, 40, 9],
] as const;

describe.each(DTYPES)('linear with %s weights is its reference', (dtype) => {
  beforeEach(({ skip }) => skip(...WITHOUT_NATIVE));

  test.each(SHAPES)('[%i, %i] to %i columns', async (M, K, N) => {
    await expectNoLeak(() => {
      const random = new Random(M * 1_000_003 + K * 1009 + N);
      tidy(() => {
        const x = random.matrix(M, K);
        const weight = random.matrix(N, K, 1 / Math.sqrt(K), dtype);
        const bias = random.vector(N);
        const norm = { weight: random.vector(K), epsilon: 1e-5 };
        const residual = random.matrix(M, N);
        for (let mask = 0; mask < 8; mask++) {
          const given = {
            bias: mask & 1 ? bias : undefined,
            norm: mask & 2 ? norm : undefined,
            residual: mask & 4 ? residual : undefined,
          };
          const found = linear({ x, weight, ...given });
          const [expected] = linearReference(
            { x, weight, ...given, norm: given.norm?.weight },
            { epsilon: norm.epsilon },
          );
          expect(found.shape).toEqual([M, N]);
          expectClose(valuesOf(found), valuesOf(expected!), TOLERANCE.kernel);
        }
      });
    });
  });
});

describe('linear', () => {
  test('has the values of its formula', () => {
    tidy(() => {
      const x = tensor2d([[3, 4]]);
      const weight = tensor2d([
        [1, 2],
        [-1, 0.5],
        [0, 0],
      ]);
      expect(valuesOf(linear({ x, weight }))).toEqual([11, -1, 0]);
      const bias = tensor1d([10, 20, 30]);
      const residual = tensor2d([[1, 2, 3]]);
      expect(valuesOf(linear({ x, weight, bias, residual }))).toEqual([22, 21, 33]);
      // mean of squares 12.5; with epsilon 3.5 the root is 4
      const norm = { weight: tensor1d([2, 4]), epsilon: 3.5 };
      expect(valuesOf(linear({ x, weight, norm }))).toEqual([9.5, 0.5, 0]);
    });
  });

  test.each([
    ['bfloat16', [0x3f80, 0xc000, 0x0080, 0x4049]], // 1, -2, 2^-126, 3.140625
    ['float16', [0x3c00, 0xc000, 0x0001, 0x4248]], // 1, -2, 2^-24, 3.140625
  ] as const)('widens %s weights exactly, the smallest ones too', (dtype, bits) => {
    tidy(() => {
      const weight = tensorFromBytes(new Uint8Array(Uint16Array.from(bits).buffer), [4, 1], dtype);
      const scale = dtype === 'bfloat16' ? 2 ** 100 : 1;
      const x = tensor2d([[scale]]);
      const smallest = dtype === 'bfloat16' ? 2 ** -26 : 2 ** -24;
      expect(valuesOf(linear({ x, weight: weight as never }))).toEqual([
        scale,
        -2 * scale,
        smallest,
        3.140625 * scale,
      ]);
    });
  });

  // [K, N]: within a depth that is unpacked at once and beyond it, with and without whole steps and groups
  test.for(
    DTYPES.flatMap((dtype) =>
      [[50, 30] as const, [1024, 33] as const, [2500, 37] as const].map(([K, N]) => ({
        dtype,
        K,
        N,
      })),
    ),
  )(
    'a row of $K values in $dtype is to the bit the same whatever is beside it',
    ({ dtype, K, N }, { skip }) => {
      skip(!hasNativeKernel('SdaLinear'), 'TensorFlow’s own products depend on the batch');
      tidy(() => {
        const random = new Random(11);
        const most = 130;
        const x = random.matrix(most, K);
        const weight = random.matrix(N, K, 0.2, dtype);
        const norm = { weight: random.vector(K), epsilon: 1e-5 };
        const rows = (from: number, count: number) =>
          valuesOf(linear({ x: slice(x, [from, 0], [count, K]), weight, norm }));
        const alone = Array.from({ length: most }, (_, row) => rows(row, 1));
        for (const count of [2, 3, 4, 5, 7, 10, 11, 12, 13, 16, 23, 24, 48, 61, 130]) {
          for (const from of [0, most - count]) {
            expect(rows(from, count)).toEqual(alone.slice(from, from + count).flat());
          }
        }
      });
    },
  );

  test.each([
    ['weight', { weight: [3, 5] }, 'linear: weight must have the shape [any, 4], but has [3, 5].'],
    ['bias', { bias: [4] }, 'linear: bias must have the shape [3], but has [4].'],
    ['norm', { norm: [3] }, 'linear: norm must have the shape [4], but has [3].'],
    [
      'residual',
      { residual: [2, 4] },
      'linear: residual must have the shape [2, 3], but has [2, 4].',
    ],
  ])('names a wrong %s', async (_, wrong: Record<string, number[]>, message) => {
    const random = new Random(1);
    const size = (name: string, fallback: number[]) => wrong[name] ?? fallback;
    const error = await errorOf(() =>
      tidy(() => {
        const [n, k] = size('weight', [3, 4]);
        const [m, columns] = size('residual', [2, 3]);
        linear({
          x: random.matrix(2, 4),
          weight: random.matrix(n!, k!),
          bias: random.vector(size('bias', [3])[0]!),
          norm: { weight: random.vector(size('norm', [4])[0]!), epsilon: 0 },
          residual: random.matrix(m!, columns!),
        });
      }),
    );
    expect(error).toMatchObject({ code: 'bad-tensor', message });
  });
});
