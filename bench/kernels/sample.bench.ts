import * as tf from '@tensorflow/tfjs-core';
import { sample, sampleSettings } from '../../kernels/sample/index.js';
import { sampleReference } from '../../kernels/sample/reference.js';
import { step, stepNumbers } from '../../kernels/step/index.js';
import type { BenchCase, KernelBench } from '../harness.js';

const VOCABULARIES = [32000, 49152, 128256, 151936];
const CUTS = { topK: 0, topP: 0.95, minP: 0, greedy: false };
const STEP = { weights: [-0.4, 0], t0: 0.6, sigma: 0.01, tMin: 0.2 };

function makeCase(V: number, B: number): BenchCase {
  const logits = tf.randomNormal<tf.Rank.R2>([2 * B, V], 0, 3, 'float32', 1);
  const lines = stepNumbers(Array(B).fill(STEP), 2);
  const numbers = tf.tensor2d(lines, [B, lines.length / B]);
  const kinds = { anchor: 1, pair: [0, 1], temperature: 'divergence' } as const;
  const { logProbs, stats } = step({ logits, numbers, ...kinds });
  const cuts = sampleSettings(Array(B).fill(CUTS));
  const settings = tf.tensor2d(cuts.values, [B, cuts.values.length / B]);
  const uniforms = tf.tensor1d(Array.from({ length: B }, (_, query) => (query + 0.5) / B));
  const inputs = { logProbs, logits, stats, settings, uniforms };
  return {
    label: `V=${V} queries=${B} top-p ${CUTS.topP}`,
    bytes: B * V * 4,
    tolerance: 1e-5,
    variants: [
      { name: 'product', run: () => [sample({ ...inputs, ...cuts.kinds })] },
      { name: 'reference', run: () => sampleReference(inputs, cuts.kinds) },
    ],
    dispose: () => tf.dispose([numbers, ...Object.values(inputs)]),
  };
}

export const bench: KernelBench = {
  kernel: 'sample',
  cases: [1, 8].flatMap((B) => VOCABULARIES.map((V) => () => makeCase(V, B))),
};
