import * as tf from '@tensorflow/tfjs-core';
import { swiglu } from '../../kernels/swiglu/index.js';
import { swigluReference } from '../../kernels/swiglu/reference.js';
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
  const gateUp = tf.tidy(
    () => castTo(tf.randomNormal([2 * I, K], 0, 0.05, 'float32', 2), 'bfloat16') as tf.Tensor2D,
  );
  return {
    label: `bfloat16 2 x [${I}, ${K}] rows=${M}`,
    bytes: 2 * I * K * 2 + M * (I + K) * 4,
    tolerance: 1e-5,
    variants: [
      {
        name: 'product',
        run: () => [swiglu({ x, gateUp, norm: { weight: norm, epsilon: EPSILON } })],
      },
      {
        name: 'reference',
        run: () => swigluReference({ x, gateUp, norm, bias: undefined }, { epsilon: EPSILON }),
      },
    ],
    dispose: () => tf.dispose([x, norm, gateUp]),
  };
}

export const bench: KernelBench = {
  kernel: 'swiglu',
  cases: SHAPES.flatMap((shape) => [1, 2, 16, 512].map((M) => () => makeCase(shape, M))),
};
