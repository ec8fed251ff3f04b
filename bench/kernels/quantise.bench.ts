import * as tf from '@tensorflow/tfjs-core';
import { quantise } from '../../kernels/quantise/index.js';
import { quantiseReference } from '../../kernels/quantise/reference.js';
import type { QuantisedBits } from '../../src/runtime/quantised.js';
import type { BenchCase, KernelBench } from '../harness.js';

function makeCase(bits: QuantisedBits, [N, K]: readonly [number, number]): BenchCase {
  const weight = tf.randomNormal<tf.Rank.R2>([N, K], 0, 0.05, 'float32', 1);
  return {
    label: `${bits} bits [${N}, ${K}]`,
    bytes: N * K * (4 + bits / 8),
    tolerance: 0,
    variants: [
      { name: 'product', run: () => [quantise({ weight, bits })] },
      {
        name: 'reference',
        run: () => quantiseReference({ weight }, { bits, parts: 1 }),
        verified: false, // tensors of bytes: the test compares them
      },
    ],
    dispose: () => tf.dispose(weight),
  };
}

export const bench: KernelBench = {
  kernel: 'quantise',
  cases: ([8, 4] as const).flatMap((bits) =>
    ([[960, 576]] as const).map((shape) => () => makeCase(bits, shape)),
  ),
};
