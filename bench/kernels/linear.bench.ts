import * as tf from '@tensorflow/tfjs-core';
import { linear } from '../../kernels/linear/index.js';
import { linearReference } from '../../kernels/linear/reference.js';
import type { DeviceDtype } from '../../src/runtime/backend.js';
import { BYTES_PER_ELEMENT, castTo } from '../../src/runtime/device-tensors.js';
import type { BenchCase, KernelBench } from '../harness.js';

/** Matrices [outputs, inputs] with the rows that they meet: a head sees the last tokens alone. */
const SHAPES = [
  // the default model: stacked q, k, v and the head
  { N: 960, K: 576, rows: [1, 2, 16, 512] },
  { N: 49152, K: 576, rows: [1, 2, 16] },
  // a 1.5B model: one of the MLP's matrices and the head
  { N: 8960, K: 1536, rows: [1, 2, 16, 512] },
  { N: 151936, K: 1536, rows: [1, 2] },
] as const;
type Shape = (typeof SHAPES)[number];
/** Random lines that a matrix repeats: drawing all of a large one takes longer than the measurement. */
const DRAWN = 64;

function makeCase({ N, K }: Shape, M: number, dtype: DeviceDtype): BenchCase {
  const x = tf.randomNormal<tf.Rank.R2>([M, K], 0, 1, 'float32', 1);
  const weight = tf.tidy(() => {
    const lines = tf.randomNormal<tf.Rank.R2>([DRAWN, K], 0, 1, 'float32', 2);
    const full = tf.tile(lines, [N / DRAWN, 1]);
    return dtype === 'float32' ? full : (castTo(full, dtype) as tf.Tensor2D);
  });
  const inputs = { x, weight, bias: undefined, norm: undefined, residual: undefined };
  return {
    label: `${dtype} [${N}, ${K}] rows=${M}`,
    bytes: N * K * BYTES_PER_ELEMENT[dtype] + M * (N + K) * 4,
    tolerance: 1e-5,
    variants: [
      { name: 'product', run: () => [linear({ x, weight })] },
      { name: 'reference', run: () => linearReference(inputs, { epsilon: 0 }) },
    ],
    dispose: () => tf.dispose([x, weight]),
  };
}

export const bench: KernelBench = {
  kernel: 'linear',
  cases: (['bfloat16', 'float32'] as const).flatMap((dtype) =>
    SHAPES.flatMap((shape) => shape.rows.map((M) => () => makeCase(shape, M, dtype))),
  ),
};
