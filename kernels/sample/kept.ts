import * as tf from '@tensorflow/tfjs-core';

/**
 * Log-probabilities are rounded to float32, and so are top-p and min-p: a mass that reaches them but for this share
 * reaches them.
 */
const CUT_ROUNDING = 1e-6;

/**
 * How many of the ranked tokens stay, at least one: [B, V] masses in descending order and [B, 1] cuts -> float32 [B, 1].
 */
export function keptCount(
  ranked: tf.Tensor,
  { topK, topP, minP }: { topK: tf.Tensor; topP: tf.Tensor; minP?: tf.Tensor },
): tf.Tensor {
  const V = ranked.shape[1]!;
  const rank = tf.range(0, V, 1, 'float32').reshape([1, V]);
  const within = tf.logicalOr(tf.less(rank, topK), tf.lessEqual(topK, 0));
  const head = tf.where(within, ranked, tf.zerosLike(ranked));
  const before = tf.cumsum(head, 1, true);
  const target = tf.mul(tf.sum(head, 1, true), tf.mul(topP, 1 - CUT_ROUNDING));
  const inNucleus = tf.logicalOr(tf.less(before, target), tf.greaterEqual(topP, 1));
  let kept: tf.Tensor = tf.logicalAnd(tf.greater(head, 0), inNucleus);
  if (minP) {
    const least = tf.mul(tf.max(head, 1, true), tf.mul(minP, 1 - CUT_ROUNDING));
    kept = tf.logicalAnd(kept, tf.greaterEqual(head, least));
  }
  return tf.maximum(tf.sum(tf.cast(kept, 'float32'), 1, true), 1);
}
