import * as tf from '@tensorflow/tfjs-core';
import { linear } from '../../kernels/linear/index.js';
import { linearReference } from '../../kernels/linear/reference.js';
import { quantise } from '../../kernels/quantise/index.js';
import { BYTES_PER_ELEMENT, castTo } from '../../src/runtime/device-tensors.js';
import { quantisedBytes } from '../../src/runtime/quantised.js';
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

/** Types that decoding is measured with. */
const DTYPES = ['bfloat16', 'float32', 'int8', 'int4'] as const;
type Dtype = (typeof DTYPES)[number];

function weightsAs(full: tf.Tensor2D, dtype: Dtype): tf.Tensor2D {
  if (dtype === 'float32') return full;
  if (dtype === 'bfloat16') return castTo(full, dtype) as tf.Tensor2D;
  return quantise({ weight: full, bits: dtype === 'int8' ? 8 : 4 });
}

function bytesOf({ N, K }: Shape, dtype: Dtype): number {
  if (dtype === 'float32' || dtype === 'bfloat16') return N * K * BYTES_PER_ELEMENT[dtype];
  return quantisedBytes({ bits: dtype === 'int8' ? 8 : 4, rows: N, columns: K, parts: 1 });
}

function makeCase(shape: Shape, M: number, dtype: Dtype): BenchCase {
  const { N, K } = shape;
  const x = tf.randomNormal<tf.Rank.R2>([M, K], 0, 1, 'float32', 1);
  const weight = tf.tidy(() => {
    const lines = tf.randomNormal<tf.Rank.R2>([DRAWN, K], 0, 1, 'float32', 2);
    return weightsAs(tf.tile(lines, [N / DRAWN, 1]), dtype);
  });
  const inputs = { x, weight, bias: undefined, norm: undefined, residual: undefined };
  return {
    label: `${dtype} [${N}, ${K}] rows=${M}`,
    bytes: bytesOf(shape, dtype) + M * (N + K) * 4,
    tolerance: dtype === 'int8' || dtype === 'int4' ? 1e-4 : 1e-5, // quantised weights meet x in 16 bits
    variants: [
      { name: 'product', run: () => [linear({ x, weight })] },
      { name: 'reference', run: () => linearReference(inputs, { epsilon: 0 }) },
    ],
    dispose: () => tf.dispose([x, weight]),
  };
}

export const bench: KernelBench = {
  kernel: 'linear',
  cases: DTYPES.flatMap((dtype) =>
    SHAPES.flatMap((shape) => shape.rows.map((M) => () => makeCase(shape, M, dtype))),
  ),
};
