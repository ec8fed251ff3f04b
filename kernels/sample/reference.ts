import * as tf from '@tensorflow/tfjs-core';
import { STEP_STATS } from '../sda-step/index.js';
import { bothStreams } from '../sda-step/reference.js';
import type { SampleAttrs, SampleInputs } from './index.js';

/**
 * Log-probabilities are rounded to float32, and so are top-p and min-p: a mass that reaches them but for this share
 * reaches them.
 */
const CUT_ROUNDING = 1e-6;

/** `sample` composed of TensorFlow operations; sorts the vocabulary. */
export function sampleReference(inputs: SampleInputs, attrs: SampleAttrs): tf.Tensor[] {
  return tf.tidy(() => {
    const { logProbs, logits, stats, uniforms } = inputs;
    const [B, V] = logProbs.shape;
    const ids = attrs.greedy
      ? (tf.argMax(logProbs, 1) as tf.Tensor1D)
      : draw(logProbs, uniforms, attrs);

    const chosen = tf.equal(tf.range(0, V, 1, 'int32'), tf.reshape(ids, [B, 1])); // [B, V]
    const pick = (values: tf.Tensor): tf.Tensor2D =>
      tf.sum(tf.where(chosen, values, tf.zerosLike(values)), 1, true) as tf.Tensor2D;
    const [base, instructed] = bothStreams(tf.reshape(logits, [B, -1, V]));
    const column = (index: number, width = 1) => tf.slice(stats, [0, index], [B, width]);
    const row = [
      tf.cast(tf.reshape(ids, [B, 1]), 'float32'),
      pick(logProbs),
      tf.sub(pick(base), column(STEP_STATS.logZBase)),
      tf.sub(pick(instructed), column(STEP_STATS.logZInstructed)),
      column(STEP_STATS.js),
      column(STEP_STATS.temperature),
      column(STEP_STATS.badStream, 2),
    ];
    return [tf.concat(row as tf.Tensor2D[], 1)];
  });
}

/** Ids drawn by inverse transform, in id order, over the kept part of the ranking. [B, V] -> [B] */
function draw(logProbs: tf.Tensor2D, uniforms: tf.Tensor1D, attrs: SampleAttrs): tf.Tensor1D {
  const [B, V] = logProbs.shape;
  const { values, indices } = tf.topk(logProbs, V, true); // descending, equal values by lower id
  const keep = keptCount(tf.exp(values), attrs); // [B, 1]
  const rank = tf.range(0, V, 1, 'float32').reshape([1, V]);
  const isLast = tf.equal(rank, tf.sub(keep, 1));
  const atLast = (x: tf.Tensor) => tf.sum(tf.where(isLast, x, tf.zerosLike(x)), 1, true);
  const least = atLast(values); // the lowest kept log-probability, and the highest kept id among its equals
  const lastId = atLast(tf.cast(indices, 'float32'));
  const kept = tf.logicalOr(
    tf.greater(logProbs, least),
    tf.logicalAnd(tf.equal(logProbs, least), tf.lessEqual(rank, lastId)),
  );
  const mass = tf.where(kept, tf.exp(logProbs), tf.zerosLike(logProbs));
  const cumulative = tf.cumsum(mass, 1);
  const total = tf.slice(cumulative, [0, V - 1], [B, 1]);
  const target = tf.mul(tf.reshape(uniforms, [B, 1]), total);
  const reached = tf.logicalOr(
    tf.greater(cumulative, target),
    tf.greaterEqual(cumulative, total), // the product may round up to the total
  );
  return tf.argMax(tf.cast(reached, 'float32'), 1) as tf.Tensor1D;
}

/** How many of the ranked tokens stay: [B, V] probabilities in descending order -> float32 [B, 1]. */
function keptCount(ranked: tf.Tensor, { topK, topP, minP }: SampleAttrs): tf.Tensor {
  const [B, V] = ranked.shape as [number, number];
  const within = topK > 0 ? Math.min(topK, V) : V;
  const head = tf.slice(ranked, [0, 0], [B, within]);
  let kept: tf.Tensor = tf.greater(head, 0);
  if (topP < 1) {
    const before = tf.cumsum(head, 1, true);
    kept = tf.logicalAnd(
      kept,
      tf.less(before, tf.mul(tf.sum(head, 1, true), topP * (1 - CUT_ROUNDING))),
    );
  }
  if (minP > 0) {
    kept = tf.logicalAnd(
      kept,
      tf.greaterEqual(head, tf.mul(tf.max(head, 1, true), minP * (1 - CUT_ROUNDING))),
    );
  }
  return tf.maximum(tf.sum(tf.cast(kept, 'float32'), 1, true), 1);
}
