import * as tf from '@tensorflow/tfjs-core';
import { type StepKinds, step, stepNumbers } from '../../kernels/step/index.js';
import { stepReference } from '../../kernels/step/reference.js';
import type { BenchCase, KernelBench } from '../harness.js';

const VOCABULARIES = [32000, 49152, 128256, 151936];
const SETTINGS = { t0: 0.6, sigma: 0.01, tMin: 0.2 };
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

const SDA: StepKinds = { anchor: 1, pair: [0, 1], temperature: 'divergence' };

/** Rules with more streams than SDA's two, or more passes. */
const OTHERS: Record<string, { streams: number; kinds: StepKinds }> = {
  'three streams': { streams: 3, kinds: { anchor: 0, pair: [0, 1] } },
  'eight streams': { streams: 8, kinds: { anchor: 0, pair: [0, 1] } },
  'weights by JS': { streams: 2, kinds: { ...SDA, weights: 'js', temperature: 'fixed' } },
  'T by entropy': { streams: 1, kinds: { anchor: 0, pair: [0, 0], temperature: 'entropy' } },
  details: { streams: 2, kinds: { ...SDA, details: true } },
};

function makeCase(
  V: number,
  B: number,
  streams: number,
  kinds: StepKinds,
  rule: string,
): BenchCase {
  const logits = tf.randomNormal<tf.Rank.R2>([streams * B, V], 0, 3, 'float32', 1);
  const weights = Array.from({ length: streams }, (_, s) => (s === kinds.anchor ? 0 : -K_TIMES_A));
  const lines = stepNumbers(Array(B).fill({ ...SETTINGS, weights, theta: 1 }), streams);
  const numbers = tf.tensor2d(lines, [B, lines.length / B]);
  const attrs = {
    weights: 'fixed',
    mask: 'none',
    maskStream: kinds.anchor,
    temperature: 'fixed',
    details: false,
    ...kinds,
  } as const;
  const authors = { name: 'authors', run: () => authorsStep(logits), verified: false };
  return {
    label: `V=${V} queries=${B}${rule}`,
    // the streams' rows in, one out
    bytes: (streams + 1) * B * V * 4,
    tolerance: 1e-5,
    variants: [
      { name: 'product', run: () => Object.values(step({ logits, numbers, ...kinds })) },
      { name: 'reference', run: () => stepReference({ logits, numbers, least: undefined }, attrs) },
      ...(kinds === SDA ? [authors] : []),
    ],
    dispose: () => tf.dispose([logits, numbers]),
  };
}

export const bench: KernelBench = {
  kernel: 'step',
  cases: [
    ...[1, 8].flatMap((B) => VOCABULARIES.map((V) => () => makeCase(V, B, 2, SDA, ''))),
    ...Object.entries(OTHERS).map(
      ([rule, { streams, kinds }]) =>
        () =>
          makeCase(VOCABULARIES.at(-1)!, 1, streams, kinds, ` ${rule}`),
    ),
  ],
};
