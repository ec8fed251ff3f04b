import * as tf from '@tensorflow/tfjs-core';
import { LOG_PROB_FLOOR, STEP_NUMBERS, type StepAttrs, type StepInputs } from './contract.js';
import { entropyOf, generalJensenShannon, jensenShannon, logSoftmax } from './divergences.js';

/** T is kept above this, so that a large divergence over sigma with tMin = 0 cannot round it to 0. */
const LEAST_TEMPERATURE = 1e-6;

/** `step` composed of TensorFlow operations, line by line as its documentation has it. */
export function stepReference(inputs: StepInputs, attrs: StepAttrs): tf.Tensor[] {
  return tf.tidy(() => {
    const { logits, numbers } = inputs;
    const [B, V] = [numbers.shape[0], logits.shape[1]];
    const { logProbs, logZ } = logSoftmax(logits); // [S B, V], [S B, 1]
    const S = numbers.shape[1] - STEP_NUMBERS.weights;
    const streams = tf.unstack(tf.reshape(logProbs, [B, S, V]), 1) as tf.Tensor2D[]; // L_i, [B, V]
    const ofPair = (index: 0 | 1) => streams[attrs.pair[index]]!;

    const js = jensenShannon(ofPair(0), ofPair(1)); // [B, 1]
    const weights = weightsOf(numbers, attrs, js);
    const kept = keptTokens(inputs, attrs, streams[attrs.maskStream]!);
    const score = tf.where(
      kept,
      scoreOf(streams, numbers, attrs, weights),
      Number.NEGATIVE_INFINITY,
    );
    const entropy = entropyOf(logSoftmax(score).logProbs); // [B, 1]
    const temperature = temperatureOf(numbers, attrs, js, entropy);
    const found = logSoftmax(score, temperature).logProbs; // log P'

    const bad = firstUnusable(logits, score); // [B, 2]
    const sound = tf.less(tf.slice(bad, [0, 0], [B, 1]), 0);
    const orZero = (x: tf.Tensor) => tf.where(sound, x, tf.zerosLike(x));
    const details = () => [
      entropy,
      generalJensenShannon(streams),
      attrs.mask === 'none' ? tf.onesLike(js) : keptMass(streams[attrs.maskStream]!, kept),
      ...streams.map(entropyOf),
      ...netWeights(numbers, attrs, weights),
    ];
    const stats = [
      orZero(tf.concat([js, temperature], 1)),
      bad,
      orZero(tf.reshape(logZ, [B, S])),
      ...(attrs.details ? [orZero(tf.concat(details(), 1))] : []),
    ];
    return [orZero(found), tf.concat(stats as tf.Tensor2D[], 1)];
  });
}

/** One column of the numbers, [B, 1] */
function numberOf(numbers: tf.Tensor2D, index: number): tf.Tensor2D {
  return tf.slice(numbers, [0, index], [numbers.shape[0], 1]);
}

/** u of each stream, [B, 1], 0 for the anchor. */
function weightsOf(numbers: tf.Tensor2D, attrs: StepAttrs, js: tf.Tensor): tf.Tensor[] {
  const S = numbers.shape[1] - STEP_NUMBERS.weights;
  const factor = tf.maximum(js, numberOf(numbers, STEP_NUMBERS.weightFloor));
  return Array.from({ length: S }, (_, stream) => {
    const weight = numberOf(numbers, STEP_NUMBERS.weights + stream);
    if (stream === attrs.anchor) return tf.zerosLike(weight);
    return attrs.weights === 'js' ? tf.mul(weight, factor) : weight;
  });
}

/** w of each stream, with which the score is the sum of w L. */
function netWeights(numbers: tf.Tensor2D, { anchor }: StepAttrs, weights: tf.Tensor[]) {
  const total = numberOf(numbers, STEP_NUMBERS.total);
  return weights.map((weight, stream) =>
    stream === anchor ? tf.sub(total, tf.addN(weights)) : weight,
  );
}

function scoreOf(
  streams: tf.Tensor2D[],
  numbers: tf.Tensor2D,
  { anchor }: StepAttrs,
  weights: tf.Tensor[],
): tf.Tensor {
  const masked = tf.scalar(Number.NEGATIVE_INFINITY);
  const possible = tf.greater(streams[anchor]!, masked);
  const from = tf.where(possible, streams[anchor]!, tf.zerosLike(streams[anchor]!));
  let score: tf.Tensor = tf.mul(from, numberOf(numbers, STEP_NUMBERS.total));
  for (const [stream, weight] of weights.entries()) {
    if (stream === anchor) continue;
    const positive = numberOf(numbers, STEP_NUMBERS.positiveFloor);
    const floor = tf.where(tf.less(weight, 0), tf.fill(weight.shape, LOG_PROB_FLOOR), positive);
    const pull = tf.mul(weight, tf.sub(tf.maximum(streams[stream]!, floor), from));
    score = tf.where(tf.equal(weight, 0), score, tf.add(score, pull)); // 0 * -Infinity is no number
  }
  return tf.where(tf.logicalAnd(possible, tf.logicalNot(tf.isNaN(score))), score, masked);
}

/** Which tokens the mask keeps, bool [B, V]; all tokens without one. */
function keptTokens(
  { logits, numbers, least }: StepInputs,
  attrs: StepAttrs,
  logProbs: tf.Tensor2D,
) {
  const [B, V] = logProbs.shape;
  if (attrs.mask === 'none') return tf.onesLike(logProbs).cast('bool');
  if (attrs.mask === 'plausible') {
    const share = tf.log(numberOf(numbers, STEP_NUMBERS.alpha));
    return tf.greaterEqual(logProbs, tf.add(tf.max(logProbs, 1, true), share));
  }
  const lines = tf.unstack(tf.reshape(logits, [B, -1, V]), 1);
  return tf.greaterEqual(lines[attrs.maskStream]!, tf.reshape(least!, [B, 1]));
}

function keptMass(logProbs: tf.Tensor2D, kept: tf.Tensor): tf.Tensor {
  const probs = tf.where(kept, tf.exp(logProbs), tf.zerosLike(logProbs));
  return tf.minimum(tf.sum(probs, 1, true), 1);
}

/** T of each query, [B, 1]. */
function temperatureOf(
  numbers: tf.Tensor2D,
  { temperature }: StepAttrs,
  js: tf.Tensor,
  entropy: tf.Tensor,
): tf.Tensor {
  const column = (name: keyof typeof STEP_NUMBERS) => numberOf(numbers, STEP_NUMBERS[name]);
  const t0 = column('t0');
  if (temperature === 'fixed') return tf.maximum(t0, LEAST_TEMPERATURE);
  const least = tf.maximum(column('tMin'), LEAST_TEMPERATURE);
  if (temperature === 'divergence') {
    const scaled = tf.mul(tf.pow(tf.scalar(0.5), tf.div(js, column('sigma'))), t0);
    return tf.maximum(scaled, least);
  }
  const theta = column('theta');
  const scaled = tf.mul(tf.pow(column('entropyBase'), tf.div(theta, entropy)), t0);
  return tf.maximum(tf.where(tf.equal(theta, 0), t0, scaled), least);
}

/**
 * The first unusable logit of each query as (stream, token); (S, -1) where none is, but no score is finite; else
 * (-1, -1). [S B, V], [B, V] -> [B, 2]
 */
function firstUnusable(logits: tf.Tensor2D, score: tf.Tensor): tf.Tensor2D {
  const [B, S] = [score.shape[0]!, logits.shape[0] / score.shape[0]!];
  const infinite = tf.equal(logits, Number.POSITIVE_INFINITY);
  const bad = tf.cast(tf.logicalOr(tf.isNaN(logits), infinite), 'float32');
  const hasBad = tf.greater(tf.max(bad, 1), 0); // [S B]
  const noneFinite = tf.logicalNot(tf.any(tf.isFinite(logits), 1));
  const token = tf.where(hasBad, tf.cast(tf.argMax(bad, 1), 'float32'), tf.fill([S * B], -1));
  const unusable = tf.cast(tf.logicalOr(hasBad, noneFinite), 'float32');
  const ofStreams = tf.concat([tf.reshape(unusable, [B, S]), tf.ones([B, 1])], 1); // one more: none of them
  const first = tf.argMax(ofStreams, 1); // [B]
  const chosen = tf.cast(tf.oneHot(tf.cast(first, 'int32'), S + 1), 'float32');
  const tokens = tf.concat([tf.reshape(token, [B, S]), tf.fill([B, 1], -1)], 1);
  const which = tf.sum(tf.mul(chosen, tokens), 1, true);
  const usable = tf.isFinite(tf.max(score, 1, true)); // [B, 1]
  const stream = tf.reshape(tf.cast(first, 'float32'), [B, 1]);
  const sound = tf.logicalAnd(tf.equal(stream, S), usable);
  return tf.concat([tf.where(sound, tf.fill([B, 1], -1), stream), which], 1) as tf.Tensor2D;
}
