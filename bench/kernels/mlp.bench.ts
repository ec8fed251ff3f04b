import * as tf from '@tensorflow/tfjs-core';
import { mlp } from '../../kernels/mlp/index.js';
import { mlpReference } from '../../kernels/mlp/reference.js';
import { castTo } from '../../src/runtime/device-tensors.js';
import type { BenchCase, KernelBench } from '../harness.js';

/** [intermediate, hidden] of the default model and of a 1.5B one. */
const SHAPES = [
  [1536, 576],
  [8960, 1536],
] as const;
const EPSILON = 1e-5;

function makeCase([I, K]: readonly [number, number], M: number): BenchCase {
  const x = tf.randomNormal<tf.Rank.R2>([M, K], 0, 1, 'float32', 1);
  const norm = tf.ones([K]) as tf.Tensor1D;
  const [gateUp, down] = [
    [2 * I, K],
    [K, I],
  ].map((shape) =>
    tf.tidy(() => castTo(tf.randomNormal(shape, 0, 0.05, 'float32', 2), 'bfloat16')),
  ) as [tf.Tensor2D, tf.Tensor2D];
  const inputs = { x, norm, gateUp, down, gateUpBias: undefined, downBias: undefined };
  return {
    label: `bfloat16 3 x [${I}, ${K}] rows=${M}`,
    bytes: 3 * I * K * 2 + 2 * M * K * 4,
    tolerance: 1e-5,
    variants: [
      {
        name: 'product',
        run: () => [mlp({ x, gateUp, down, norm: { weight: norm, epsilon: EPSILON } })],
      },
      { name: 'reference', run: () => mlpReference(inputs, { epsilon: EPSILON }) },
    ],
    dispose: () => tf.dispose([x, norm, gateUp, down]),
  };
}

export const bench: KernelBench = {
  kernel: 'mlp',
  cases: SHAPES.flatMap((shape) => [1, 2, 16, 512].map((M) => () => makeCase(shape, M))),
};
