import * as tf from '@tensorflow/tfjs-core';
import { STEP_STATS } from '../step/contract.js';
import type { SampleInputs } from './index.js';
import { keptCount } from './kept.js';
import { SAMPLE_SETTINGS, type SampleKinds } from './settings.js';

/** `sample` composed of TensorFlow operations; sorts the vocabulary. */
export function sampleReference(inputs: SampleInputs, attrs: SampleKinds): tf.Tensor[] {
  return tf.tidy(() => {
    const { logProbs, logits, stats } = inputs;
    const [B, V] = logProbs.shape;
    const S = logits.shape[0] / B;
    const ids = chosenIds(inputs, attrs);

    const chosen = tf.equal(tf.range(0, V, 1, 'int32'), tf.reshape(ids, [B, 1])); // [B, V]
    const pick = (values: tf.Tensor): tf.Tensor2D =>
      tf.sum(tf.where(chosen, values, tf.zerosLike(values)), 1, true) as tf.Tensor2D;
    const streams = tf.unstack(tf.reshape(logits, [B, S, V]), 1);
    const logZ = (stream: number) => tf.slice(stats, [0, STEP_STATS.logZ + stream], [B, 1]);
    const row = [
      tf.cast(tf.reshape(ids, [B, 1]), 'float32'),
      pick(logProbs),
      ...streams.map((line, stream) => tf.sub(pick(line), logZ(stream))),
      stats,
    ];
    return [tf.concat(row as tf.Tensor2D[], 1)];
  });
}

function chosenIds(inputs: SampleInputs, { topK, greedy }: SampleKinds): tf.Tensor1D {
  const { logProbs, settings, uniforms } = inputs;
  const B = logProbs.shape[0];
  const best = tf.argMax(logProbs, 1) as tf.Tensor1D;
  if (greedy === 'all') return best;
  const column = (name: keyof typeof SAMPLE_SETTINGS): tf.Tensor =>
    tf.slice(settings, [0, SAMPLE_SETTINGS[name]], [B, 1]);
  const cuts = {
    topK: topK ? column('topK') : tf.zeros([B, 1]),
    topP: column('topP'),
    minP: column('minP'),
  };
  const drawn = draw(logProbs, uniforms, cuts);
  if (greedy === 'none') return drawn;
  return tf.where(tf.notEqual(tf.reshape(column('greedy'), [B]), 0), best, drawn) as tf.Tensor1D;
}

/** Ids drawn by inverse transform, in id order, over the kept part of the ranking. [B, V] -> [B] */
function draw(
  logProbs: tf.Tensor2D,
  uniforms: tf.Tensor1D,
  cuts: { topK: tf.Tensor; topP: tf.Tensor; minP: tf.Tensor },
): tf.Tensor1D {
  const [B, V] = logProbs.shape;
  const { values, indices } = tf.topk(logProbs, V, true); // descending, equal values by lower id
  const keep = keptCount(tf.exp(values), cuts); // [B, 1]
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
