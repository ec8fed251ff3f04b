import { tensor1d, tensor2d, tidy } from '@tensorflow/tfjs-core';
import { describe, expect, test } from 'vitest';
import { type MlpArgs, mlp } from '../../kernels/mlp/index.js';
import { mlpReference } from '../../kernels/mlp/reference.js';
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

describe.each(DTYPES)('mlp with %s weights is its reference', (dtype) => {
  test.each(SHAPES)('%i rows of %i, %i within', async (M, K, I) => {
    await expectNoLeak(() => {
      const random = new Random(M * 1_000_003 + K * 1009 + I);
      tidy(() => {
        const x = random.matrix(M, K);
        const gateUp = random.matrix(2 * I, K, 2 / Math.sqrt(K), dtype);
        const down = random.matrix(K, I, 2 / Math.sqrt(I), dtype === 'float16' ? 'float32' : dtype);
        const norm = { weight: random.vector(K), epsilon: 1e-6 };
        for (const biased of [false, true]) {
          const gateUpBias = biased ? random.vector(2 * I) : undefined;
          const downBias = biased ? random.vector(K) : undefined;
          const tensors = { x, gateUp, down, gateUpBias, downBias };
          const found = mlp({ ...tensors, norm });
          const [expected] = mlpReference({ ...tensors, norm: norm.weight }, norm);
          expect(found.shape).toEqual([M, K]);
          expectClose(valuesOf(found), valuesOf(expected!), TOLERANCE.kernel);
        }
      });
    });
  });
});

describe('mlp', () => {
  test('has the values of its formula, large gates of either sign too', () => {
    tidy(() => {
      const gateUp = tensor2d([[0], [1], [200], [-200], [5], [3], [2], [7]]);
      const norm = { weight: tensor1d([1]), epsilon: 0 };
      for (const [column, value] of [0, 3 / (1 + Math.exp(-1)), 400, 0].entries()) {
        const down = tensor2d([[0, 0, 0, 0].map((_, i) => (i === column ? 1 : 0))]);
        const found = valuesOf(mlp({ x: tensor2d([[1]]), norm, gateUp, down }));
        expectClose(found, [1 + value], TOLERANCE.kernel);
      }
    });
  });

  test.each<[string, (random: Random) => Partial<MlpArgs>, string]>([
    [
      'norm',
      (random) => ({ norm: { weight: random.vector(3), epsilon: 0 } }),
      'norm must have the shape [4], but has [3].',
    ],
    [
      'down',
      (random) => ({ down: random.matrix(3, 5) }),
      'down must have the shape [4, any], but has [3, 5].',
    ],
    [
      'gateUp',
      (random) => ({ gateUp: random.matrix(5, 4) }),
      'gateUp must have the shape [6, 4], but has [5, 4].',
    ],
    [
      'bias',
      (random) => ({ gateUpBias: random.vector(3), downBias: random.vector(4) }),
      'gateUpBias must have the shape [6], but has [3].',
    ],
    [
      'second bias',
      (random) => ({ gateUpBias: random.vector(6), downBias: random.vector(5) }),
      'downBias must have the shape [4], but has [5].',
    ],
  ])('names a wrong %s', async (_, wrong, message) => {
    const random = new Random(1);
    const error = await errorOf(() =>
      tidy(() =>
        mlp({
          x: random.matrix(2, 4),
          norm: { weight: random.vector(4), epsilon: 0 },
          gateUp: random.matrix(6, 4),
          down: random.matrix(4, 3),
          ...wrong(random),
        }),
      ),
    );
    expect(error).toMatchObject({ code: 'bad-tensor', message: `mlp: ${message}` });
  });
});
