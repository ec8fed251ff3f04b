import * as tf from '@tensorflow/tfjs-core';
import { type SelfAttentionInputs, selfAttention } from '../../kernels/self-attention/index.js';
import { selfAttentionReference } from '../../kernels/self-attention/reference.js';
import type { ModelConfig } from '../../src/model/config.js';
import { KvCache } from '../../src/model/kv-cache.js';
import { castTo, float32Tensor, int32Tensor } from '../../src/runtime/device-tensors.js';
import type { BenchCase, KernelBench } from '../harness.js';

/** The default model's layer and that of a 1.5B one. */
const LAYERS = [
  { hidden: 576, numHeads: 9, numKeyValueHeads: 3, headDim: 64 },
  { hidden: 1536, numHeads: 12, numKeyValueHeads: 2, headDim: 128 },
] as const;
const EPSILON = 1e-5;

/** T new tokens of two streams after `past` cached ones. */
function makeCase(layer: (typeof LAYERS)[number], past: number, T: number): BenchCase {
  const { hidden, ...heads } = layer;
  const { numHeads, numKeyValueHeads, headDim } = heads;
  const length = past + T;
  const config = { ...heads, numLayers: 1 } as unknown as ModelConfig;
  const cache = new KvCache(config, 2, length, length);
  const slots = cache.layer(0);
  const width = (numHeads + 2 * numKeyValueHeads) * headDim;
  const weights = (rows: number, columns: number) =>
    tf.tidy(
      () =>
        castTo(tf.randomNormal([rows, columns], 0, 0.05, 'float32', 2), 'bfloat16') as tf.Tensor2D,
    );
  const places = {
    positions: int32Tensor(
      Int32Array.from({ length: 2 * T }, (_, i) => past + (i % T)),
      [2, T],
    ) as tf.Tensor2D,
    rows: int32Tensor(Int32Array.of(0, 1)) as tf.Tensor1D,
    rotation: float32Tensor(new Float32Array(2 * T * headDim).fill(Math.SQRT1_2), [
      2 * T,
      headDim,
    ]) as tf.Tensor2D,
  };
  const norm = { weight: tf.ones([hidden]) as tf.Tensor1D, epsilon: EPSILON };
  const x = tf.randomNormal<tf.Rank.R2>([2 * T, hidden], 0, 1, 'float32', 1);
  const qkv = weights(width, hidden);
  const o = weights(hidden, numHeads * headDim);
  const absent = { qkvBias: undefined, oBias: undefined, queryNorm: undefined, keyNorm: undefined };
  const inputs: SelfAttentionInputs = {
    ...{ x, qkv, o, ...absent, ...places },
    norm: norm.weight,
    keys: slots.keys,
    values: slots.values,
  };
  const attrs = { ...heads, window: 0, epsilon: EPSILON, capacity: slots.capacity, cacheRows: 2 };
  return {
    label: `bfloat16 ${hidden}, ${numHeads}/${numKeyValueHeads} heads of ${headDim}, past=${past} new=${T}`,
    bytes: (width + numHeads * headDim) * hidden * 2 + 4 * numKeyValueHeads * length * headDim * 4,
    tolerance: 1e-5,
    variants: [
      {
        name: 'product',
        run: () => [
          selfAttention({ x, norm, qkv, o, places, cache: slots, heads: { ...heads, window: 0 } }),
        ],
      },
      { name: 'reference', run: () => selfAttentionReference(inputs, attrs) },
    ],
    dispose: () => {
      tf.dispose([x, norm.weight, qkv, o, ...Object.values(places)]);
      cache.dispose();
    },
  };
}

export const bench: KernelBench = {
  kernel: 'self-attention',
  cases: LAYERS.flatMap((layer) => [
    () => makeCase(layer, 127, 1),
    () => makeCase(layer, 1023, 1),
    () => makeCase(layer, 0, 512),
  ]),
};
