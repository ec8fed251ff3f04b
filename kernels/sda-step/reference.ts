import * as tf from '@tensorflow/tfjs-core';
import { LOG_PROB_FLOOR, type SdaStepAttrs, type SdaStepInputs } from './contract.js';

/** Beyond this many nats between log P1 and log P2, the smaller one adds nothing to the divergence. */
const MAX_GAP = 80;
/** T is kept above this, so that a large divergence over sigma with tMin = 0 cannot round it to 0. */
const LEAST_TEMPERATURE = 1e-6;

/** `sdaStep` composed of TensorFlow operations: eqs 4-8, line by line. */
export function sdaStepReference(inputs: SdaStepInputs, attrs: SdaStepAttrs): tf.Tensor[] {
  return tf.tidy(() => {
    const { logits, strength } = inputs;
    const { t0, sigma, tMin, plausibility, base } = attrs;
    const [B, V] = [strength.shape[0], logits.shape[1]];
    const masked = tf.scalar(Number.NEGATIVE_INFINITY);

    const { logProbs: normalised, logZ } = logSoftmax(logits); // [2B, V], [2B, 1]
    const streams = bothStreams(tf.reshape(normalised, [B, -1, V]));
    const [logP1, logP2] = streams as [tf.Tensor2D, tf.Tensor2D];

    const js = jensenShannon(logP1, logP2); // [B, 1]                                        eq 6
    const scaled = tf.mul(tf.pow(tf.scalar(0.5), tf.div(js, sigma)), t0);
    const temperature = tf.maximum(scaled, Math.max(tMin, LEAST_TEMPERATURE)); // [B, 1]      eq 7

    const steering = tf.sub(logP2, tf.maximum(logP1, LOG_PROB_FLOOR)); //                     eq 4
    const steered = tf.add(logP2, tf.mul(tf.reshape(strength, [B, 1]), steering)); //         eq 5
    const possible = tf.greater(logP2, masked);
    let logP: tf.Tensor = base ? logP1 : tf.where(possible, steered, masked);
    if (plausibility > 0) {
      const least = tf.add(tf.max(logP2, 1, true), Math.log(plausibility));
      logP = tf.where(tf.greaterEqual(logP2, least), logP, masked);
    }
    const { logProbs } = logSoftmax(logP, temperature); //                                    eq 8

    const logZs = bothStreams(tf.reshape(logZ, [B, -1, 1]));
    const stats = tf.concat([js, temperature, ...logZs, badLogits(logits, B)], 1);
    return [logProbs, stats];
  });
}

/**
 * log softmax(x / temperature) of each line. The largest value is taken off first, so that the rounding does
 * not grow with an offset. `logZ`, [lines, 1], is the log of the sum of exp(x / temperature).
 */
function logSoftmax(x: tf.Tensor, temperature: tf.Tensor | number = 1) {
  const largest = tf.max(x, 1, true);
  const shifted = tf.div(tf.sub(x, largest), temperature); // <= 0
  const logSum = tf.log(tf.sum(tf.exp(shifted), 1, true));
  return {
    logProbs: tf.sub(shifted, logSum),
    logZ: tf.add(tf.div(largest, temperature), logSum),
  };
}

/** [B, S, W] -> the base and the instructed stream, [B, W] each; the same one twice where S is 1. */
export function bothStreams(perQuery: tf.Tensor): [tf.Tensor, tf.Tensor] {
  const streams = tf.unstack(perQuery, 1);
  return [streams[0]!, streams.at(-1)!];
}

/**
 * JS(P1, P2) in nats per line, without cancellation: with d = log P2 - log P1,
 * log P1 - log M = -log1p(expm1(d) / 2), which is exactly 0 where the streams agree. [B, V] -> [B, 1]
 */
function jensenShannon(logP1: tf.Tensor2D, logP2: tf.Tensor2D): tf.Tensor2D {
  return tf.tidy(() => {
    const gap = tf.sub(logP2, logP1);
    const known = tf.where(tf.isNaN(gap), tf.zerosLike(gap), gap); // masked in both streams
    const d = tf.clipByValue(known, -MAX_GAP, MAX_GAP);
    const logRatio = (gaps: tf.Tensor) => tf.neg(tf.log1p(tf.div(tf.expm1(gaps), 2)));
    const terms = tf.add(
      tf.mul(tf.exp(logP1), logRatio(d)),
      tf.mul(tf.exp(logP2), logRatio(tf.neg(d))),
    );
    return tf.clipByValue(tf.mul(tf.sum(terms, 1, true), 0.5), 0, Math.LN2) as tf.Tensor2D;
  });
}

/** The first unusable logit of each query as (stream, token), (-1, -1) where all are sound. [S B, V] -> [B, 2] */
function badLogits(logits: tf.Tensor2D, B: number): tf.Tensor2D {
  return tf.tidy(() => {
    const infinite = tf.equal(logits, Number.POSITIVE_INFINITY);
    const bad = tf.cast(tf.logicalOr(tf.isNaN(logits), infinite), 'float32');
    const hasBad = tf.max(bad, 1); // [2B]
    const noneFinite = tf.logicalNot(tf.any(tf.isFinite(logits), 1));
    const token = tf.where(tf.greater(hasBad, 0), tf.cast(tf.argMax(bad, 1), 'float32'), -1);
    const unusable = tf.cast(tf.logicalOr(tf.greater(hasBad, 0), noneFinite), 'float32');
    const perQuery = tf.reshape(unusable, [B, -1]);
    const any = tf.greater(tf.max(perQuery, 1), 0); // [B]
    const first = tf.cast(tf.argMax(perQuery, 1), 'float32'); // [B]
    const [base, instructed] = bothStreams(tf.reshape(token, [B, -1]));
    const stream = tf.where(any, first, -1);
    const which = tf.where(any, tf.where(tf.equal(first, 0), base, instructed), -1);
    return tf.stack([stream, which], 1) as tf.Tensor2D;
  });
}
