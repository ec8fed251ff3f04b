import * as tf from '@tensorflow/tfjs-core';
import { sample } from '../../kernels/sample/index.js';
import { sampleReference } from '../../kernels/sample/reference.js';
import { sdaStep } from '../../kernels/sda-step/index.js';
import type { BenchCase, KernelBench } from '../harness.js';

const VOCABULARIES = [32000, 49152, 128256, 151936];
const CUTS = { topK: 0, topP: 0.95, minP: 0, greedy: false };
const STEP = { t0: 0.6, sigma: 0.01, tMin: 0.2, plausibility: 0, base: false };

function makeCase(V: number, B: number): BenchCase {
  const logits = tf.randomNormal<tf.Rank.R2>([2 * B, V], 0, 3, 'float32', 1);
  const strength = tf.fill([B], 0.4) as tf.Tensor1D;
  const { logProbs, stats } = sdaStep({ logits, strength, ...STEP });
  const uniforms = tf.tensor1d(Array.from({ length: B }, (_, query) => (query + 0.5) / B));
  const inputs = { logProbs, logits, stats, uniforms };
  return {
    label: `V=${V} queries=${B} top-p ${CUTS.topP}`,
    bytes: B * V * 4,
    tolerance: 1e-5,
    variants: [
      { name: 'product', run: () => [sample({ ...inputs, ...CUTS })] },
      { name: 'reference', run: () => sampleReference(inputs, CUTS) },
    ],
    dispose: () => tf.dispose([strength, ...Object.values(inputs)]),
  };
}

export const bench: KernelBench = {
  kernel: 'sample',
  cases: [1, 8].flatMap((B) => VOCABULARIES.map((V) => () => makeCase(V, B))),
};
