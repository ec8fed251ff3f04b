import * as tf from '@tensorflow/tfjs-core';
import { cut, cutSettings } from '../../kernels/cut/index.js';
import { cutReference } from '../../kernels/cut/reference.js';
import type { BenchCase, KernelBench } from '../harness.js';

const VOCABULARIES = [49152, 151936];
const CUTS = { 'top-p 0.9': { topP: 0.9 }, 'top-k 50': { topK: 50 } };

function makeCase(V: number, B: number, name: keyof typeof CUTS): BenchCase {
  const logits = tf.randomNormal<tf.Rank.R2>([2 * B, V], 0, 3, 'float32', 1);
  const lines = cutSettings(Array(B).fill(CUTS[name]));
  const settings = tf.tensor2d(lines, [B, lines.length / B]);
  return {
    label: `V=${V} queries=${B} ${name}`,
    bytes: B * V * 4,
    tolerance: 1e-5,
    variants: [
      { name: 'product', run: () => [cut({ logits, settings, stream: 1 })] },
      { name: 'reference', run: () => cutReference({ logits, settings }, { stream: 1 }) },
    ],
    dispose: () => tf.dispose([logits, settings]),
  };
}

export const bench: KernelBench = {
  kernel: 'cut',
  cases: [1, 8].flatMap((B) =>
    VOCABULARIES.flatMap((V) =>
      (['top-p 0.9', 'top-k 50'] as const).map((name) => () => makeCase(V, B, name)),
    ),
  ),
};
