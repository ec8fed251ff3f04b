import * as tf from '@tensorflow/tfjs-core';

/** Beyond this many nats between log P1 and log P2, the smaller one adds nothing to the divergence. */
const MAX_GAP = 80;

/**
 * log softmax(x / temperature) of each line. The largest value is taken off first, so that the rounding does
 * not grow with an offset. `logZ`, [lines, 1], is the log of the sum of exp(x / temperature).
 */
export function logSoftmax(x: tf.Tensor, temperature: tf.Tensor | number = 1) {
  const largest = tf.max(x, 1, true);
  const shifted = tf.div(tf.sub(x, largest), temperature); // <= 0
  const logSum = tf.log(tf.sum(tf.exp(shifted), 1, true));
  return {
    logProbs: tf.sub(shifted, logSum),
    logZ: tf.add(tf.div(largest, temperature), logSum),
  };
}

/**
 * JS(P1, P2) in nats per line, without cancellation: with d = log P2 - log P1,
 * log P1 - log M = -log1p(expm1(d) / 2), which is exactly 0 where the streams agree. [B, V] -> [B, 1]
 */
export function jensenShannon(logP1: tf.Tensor2D, logP2: tf.Tensor2D): tf.Tensor2D {
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

/**
 * Jensen-Shannon divergence of S distributions with equal weights, nats, 0..ln S: the mean of KL(P || M), M the mean
 * distribution. With r = P / M - 1 the sum of P log(P / M) is that of M ((1 + r) log(1 + r) - r), none of whose terms
 * is negative. S times [B, V] -> [B, 1]
 */
export function generalJensenShannon(logProbs: readonly tf.Tensor2D[]): tf.Tensor2D {
  return tf.tidy(() => {
    const probs = logProbs.map((line) => tf.exp(line));
    const mean = tf.div(tf.addN(probs), probs.length);
    const terms = probs.map((p) => {
      const r = tf.divNoNan(tf.sub(p, mean), mean);
      const grown = tf.mul(tf.add(r, 1), tf.log1p(r));
      return tf.mul(mean, tf.sub(tf.where(tf.greater(r, -1), grown, tf.zerosLike(r)), r));
    });
    const sum = tf.sum(tf.addN(terms), 1, true);
    const js = tf.div(sum, probs.length);
    return tf.clipByValue(js, 0, Math.log(probs.length)) as tf.Tensor2D;
  });
}

/** Entropy in nats per line, 0 log 0 = 0. [B, V] -> [B, 1] */
export function entropyOf(logProbs: tf.Tensor): tf.Tensor2D {
  return tf.tidy(() => {
    const terms = tf.mul(tf.exp(logProbs), logProbs);
    const known = tf.where(tf.isFinite(logProbs), terms, tf.zerosLike(terms));
    const entropy = tf.neg(tf.sum(known, 1, true));
    return tf.where(tf.greater(entropy, 0), entropy, tf.zerosLike(entropy)) as tf.Tensor2D; // never -0
  });
}
