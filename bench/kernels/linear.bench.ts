import * as tf from '@tensorflow/tfjs-core';
import { linear } from '../../kernels/linear/index.js';
import { linearReference } from '../../kernels/linear/reference.js';
import type { DeviceDtype } from '../../src/runtime/backend.js';
import { BYTES_PER_ELEMENT, castTo } from '../../src/runtime/device-tensors.js';
import type { BenchCase, KernelBench } from '../harness.js';

/** Projections of the default model (hidden 576) and of a 1.5B one (hidden 1536): [outputs, inputs]. */
const SHAPES = [
  [960, 576],
  [49152, 576],
  [8960, 1536],
] as const;

function makeCase([N, K]: readonly [number, number], M: number, dtype: DeviceDtype): BenchCase {
  const x = tf.randomNormal<tf.Rank.R2>([M, K], 0, 1, 'float32', 1);
  const weight = tf.tidy(() => {
    const full = tf.randomNormal<tf.Rank.R2>([N, K], 0, 1, 'float32', 2);
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
    SHAPES.flatMap((shape) => [1, 2, 16, 256].map((M) => () => makeCase(shape, M, dtype))),
  ),
};
