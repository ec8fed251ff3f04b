import { tensor1d, tensor2d, tidy } from '@tensorflow/tfjs-core';
import { describe, expect, test } from 'vitest';
import { swiglu } from '../../kernels/swiglu/index.js';
import { swigluReference } from '../../kernels/swiglu/reference.js';
import { expectClose } from '../support/close.js';
import { Random } from '../support/random.js';
import { errorOf, expectNoLeak, useTensorFlow, valuesOf } from '../support/tensorflow.js';
import { TOLERANCE } from '../support/tolerances.js';

useTensorFlow();

const DTYPES = ['float32', 'bfloat16', 'float16'] as const;

/** [M, K, I] */
const SHAPES = [
  [1, 1, 1],
  [1, 576, 96],
  [2, 7, 5],
  [2, 48, 80],
  [2, 577, 33],
  [3, 31, 17],
  [5, 100, 7],
  [17, 65, 67],
  [64, 96, 35],
] as const;

describe.each(DTYPES)('swiglu with %s weights is its reference', (dtype) => {
  test.each(SHAPES)('[%i, %i] to %i columns', async (M, K, I) => {
    await expectNoLeak(() => {
      const random = new Random(M * 1_000_003 + K * 1009 + I);
      tidy(() => {
        const x = random.matrix(M, K);
        const gateUp = random.matrix(2 * I, K, 2 / Math.sqrt(K), dtype);
        const norm = { weight: random.vector(K), epsilon: 1e-6 };
        for (const bias of [undefined, random.vector(2 * I)]) {
          const found = swiglu({ x, norm, gateUp, bias });
          const [expected] = swigluReference({ x, norm: norm.weight, gateUp, bias }, norm);
          expect(found.shape).toEqual([M, I]);
          expectClose(valuesOf(found), valuesOf(expected!), TOLERANCE.kernel);
        }
      });
    });
  });
});

describe('swiglu', () => {
  test('has the values of its formula, large gates of either sign too', () => {
    tidy(() => {
      const x = tensor2d([[1]]);
      const norm = { weight: tensor1d([1]), epsilon: 0 };
      const gateUp = tensor2d([[0], [1], [200], [-200], [5], [3], [2], [7]]);
      expectClose(
        valuesOf(swiglu({ x, norm, gateUp })),
        [0, 3 / (1 + Math.exp(-1)), 400, 0],
        TOLERANCE.kernel,
      );
    });
  });

  test.each([
    ['gateUp', [6, 5], [6], 'swiglu: gateUp must have the shape [any, 4], but has [6, 5].'],
    ['odd gateUp', [5, 4], [5], 'swiglu: gateUp must have the shape [4, any], but has [5, 4].'],
    ['bias', [6, 4], [3], 'swiglu: bias must have the shape [6], but has [3].'],
  ] as const)('names a wrong %s', async (_, gateUp, bias, message) => {
    const random = new Random(1);
    const error = await errorOf(() =>
      tidy(() =>
        swiglu({
          x: random.matrix(2, 4),
          norm: { weight: random.vector(4), epsilon: 0 },
          gateUp: random.matrix(gateUp[0], gateUp[1]),
          bias: random.vector(bias[0]),
        }),
      ),
    );
    expect(error).toMatchObject({ code: 'bad-tensor', message });
  });

  test('names a wrong norm', async () => {
    const random = new Random(1);
    const error = await errorOf(() =>
      tidy(() =>
        swiglu({
          x: random.matrix(2, 4),
          norm: { weight: random.vector(3), epsilon: 0 },
          gateUp: random.matrix(6, 4),
        }),
      ),
    );
    expect(error).toMatchObject({
      code: 'bad-tensor',
      message: 'swiglu: norm must have the shape [4], but has [3].',
    });
  });
});
