import * as tf from '@tensorflow/tfjs-core';
import { sdaStep } from '../../kernels/sda-step/index.js';
import { sdaStepReference } from '../../kernels/sda-step/reference.js';
import type { BenchCase, KernelBench } from '../harness.js';

const VOCABULARIES = [32000, 49152, 128256, 151936];
const SETTINGS = { t0: 0.6, sigma: 0.01, tMin: 0.2, plausibility: 0, base: false };
const K_TIMES_A = 0.4;

/** The step as the authors' code computes it: softmaxes, 1e-9 inside every logarithm, one query at a time. */
function authorsStep(logits: tf.Tensor2D): tf.Tensor[] {
  return tf.tidy(() =>
    tf.split(logits, logits.shape[0] / 2, 0).map((pair) => {
      const [p1, p2] = tf.unstack(tf.softmax(pair), 0) as [tf.Tensor, tf.Tensor];
      const log = (p: tf.Tensor) => tf.log(tf.add(p, 1e-9));
      const mean = tf.mul(tf.add(p1, p2), 0.5);
      const kl = (p: tf.Tensor) => tf.sum(tf.mul(p, tf.sub(log(p), log(mean))));
      const js = tf.mul(tf.add(kl(p1), kl(p2)), 0.5);
      const steered = tf.add(log(p2), tf.mul(tf.sub(log(p2), log(p1)), K_TIMES_A));
      const temperature = tf.maximum(
        tf.mul(tf.pow(tf.scalar(0.5), tf.div(js, SETTINGS.sigma)), SETTINGS.t0),
        SETTINGS.tMin,
      );
      return tf.softmax(tf.div(steered, temperature));
    }),
  );
}

function makeCase(V: number, B: number): BenchCase {
  const logits = tf.randomNormal<tf.Rank.R2>([2 * B, V], 0, 3, 'float32', 1);
  const strength = tf.fill([B], K_TIMES_A) as tf.Tensor1D;
  return {
    label: `V=${V} queries=${B}`,
    // two rows in, one out
    bytes: 3 * B * V * 4,
    tolerance: 1e-5,
    variants: [
      { name: 'product', run: () => Object.values(sdaStep({ logits, strength, ...SETTINGS })) },
      { name: 'reference', run: () => sdaStepReference({ logits, strength }, SETTINGS) },
      { name: 'authors', run: () => authorsStep(logits), verified: false },
    ],
    dispose: () => tf.dispose([logits, strength]),
  };
}

export const bench: KernelBench = {
  kernel: 'sda-step',
  cases: [1, 8].flatMap((B) => VOCABULARIES.map((V) => () => makeCase(V, B))),
};
