import * as tf from '@tensorflow/tfjs-core';
import { embed } from '../../kernels/embed/index.js';
import { embedReference } from '../../kernels/embed/reference.js';
import { castTo, int32Tensor } from '../../src/runtime/device-tensors.js';
import type { BenchCase, KernelBench } from '../harness.js';

/** Of N tokens that were drawn in the step before, in a table of the size of Qwen2.5's 0.5B. */
function makeCase(N: number): BenchCase {
  const [V, K] = [151936, 896];
  const wide = tf.randomNormal<tf.Rank.R2>([V, K], 0, 1, 'float32', 1);
  const table = castTo(wide, 'bfloat16') as tf.Tensor2D;
  wide.dispose();
  const drawn = tf.tensor2d(Array.from({ length: N }, (_, n) => [((n + 1) * 48271) % V]));
  const ids = Int32Array.from({ length: N }, (_, n) => ~n);
  const on = int32Tensor(ids.slice()) as tf.Tensor1D;
  return {
    label: `bfloat16 [${V}, ${K}] tokens=${N}`,
    bytes: N * K * 6,
    tolerance: 0,
    variants: [
      { name: 'product', run: () => [embed({ table, ids, drawn })] },
      { name: 'reference', run: () => embedReference({ table, ids: on, drawn }) },
    ],
    dispose: () => tf.dispose([table, drawn, on]),
  };
}

export const bench: KernelBench = { kernel: 'embed', cases: [2, 16].map((N) => () => makeCase(N)) };
