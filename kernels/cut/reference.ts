import * as tf from '@tensorflow/tfjs-core';
import { keptCount } from '../sample/kept.js';
import type { CutAttrs, CutInputs } from './index.js';
import { CUT_SETTINGS } from './settings.js';

/** Temperatures are kept above this, so that dividing by one gives a number. */
const LEAST_TEMPERATURE = 1e-6;

/** `cut` composed of TensorFlow operations; sorts the vocabulary. */
export function cutReference({ logits, settings }: CutInputs, { stream }: CutAttrs): tf.Tensor[] {
  return tf.tidy(() => {
    const [B, V] = [settings.shape[0], logits.shape[1]];
    const column = (name: keyof typeof CUT_SETTINGS): tf.Tensor =>
      tf.slice(settings, [0, CUT_SETTINGS[name]], [B, 1]);
    const [topK, topP] = [column('topK'), column('topP')];
    const line = tf.unstack(tf.reshape(logits, [B, -1, V]), 1)[stream]!;
    const masked = tf.scalar(Number.NEGATIVE_INFINITY);

    const { values } = tf.topk(line, V, true);
    const largest = tf.slice(values, [0, 0], [B, 1]);
    const temperature = tf.maximum(column('temperature'), LEAST_TEMPERATURE);
    const possible = tf.greater(values, masked);
    const below = tf.where(possible, tf.div(tf.sub(values, largest), temperature), masked);
    const keep = keptCount(tf.exp(below), { topK, topP }); // [B, 1]
    const isLast = tf.equal(tf.range(0, V, 1, 'float32').reshape([1, V]), tf.sub(keep, 1));
    const least = tf.sum(tf.where(isLast, values, tf.zerosLike(values)), 1, true);

    const all = tf.logicalAnd(
      tf.logicalOr(tf.lessEqual(topK, 0), tf.greaterEqual(topK, V)),
      tf.greaterEqual(topP, 1),
    );
    const keepsAll = tf.logicalOr(all, tf.logicalNot(tf.isFinite(largest)));
    return [tf.reshape(tf.where(keepsAll, masked, least), [B])];
  });
}
