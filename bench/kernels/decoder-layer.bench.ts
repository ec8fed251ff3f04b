import * as tf from '@tensorflow/tfjs-core';
import { decoderLayers, makeDecoderLayer } from '../../kernels/decoder-layer/index.js';
import { decoderLayersReference } from '../../kernels/decoder-layer/reference.js';
import type { ModelConfig } from '../../src/model/config.js';
import { KvCache } from '../../src/model/kv-cache.js';
import type { KvDtype } from '../../src/model/kv-dtype.js';
import {
  BYTES_PER_ELEMENT,
  castTo,
  float32Tensor,
  int32Tensor,
} from '../../src/runtime/device-tensors.js';
import type { BenchCase, KernelBench } from '../harness.js';

/** The default model's layer and that of a 1.5B one. */
const LAYERS = [
  { hidden: 576, intermediate: 1536, numHeads: 9, numKeyValueHeads: 3, headDim: 64 },
  { hidden: 1536, intermediate: 8960, numHeads: 12, numKeyValueHeads: 2, headDim: 128 },
] as const;

function makeLayer({ hidden, intermediate, ...heads }: (typeof LAYERS)[number]) {
  const { numHeads, numKeyValueHeads, headDim } = heads;
  const weights = (rows: number, columns: number) =>
    tf.tidy(
      () =>
        castTo(tf.randomNormal([rows, columns], 0, 0.05, 'float32', 2), 'bfloat16') as tf.Tensor2D,
    );
  const tensors = {
    inputNorm: tf.ones([hidden]) as tf.Tensor1D,
    qkvProj: weights((numHeads + 2 * numKeyValueHeads) * headDim, hidden),
    qkvBias: undefined,
    attentionOutputNorm: undefined,
    queryNorm: undefined,
    keyNorm: undefined,
    oProj: weights(hidden, numHeads * headDim),
    oBias: undefined,
    mlpNorm: tf.ones([hidden]) as tf.Tensor1D,
    gateUpProj: weights(2 * intermediate, hidden),
    gateUpBias: undefined,
    downProj: weights(hidden, intermediate),
    downBias: undefined,
    mlpOutputNorm: undefined,
  };
  const bytes = [tensors.qkvProj, tensors.oProj, tensors.gateUpProj, tensors.downProj]
    .map(({ size }) => 2 * size)
    .reduce((a, b) => a + b);
  const shape = { ...heads, window: 0, rotates: true, epsilon: 1e-5 };
  return { layer: makeDecoderLayer(tensors, shape), bytes };
}

/** T new tokens of two streams after `past` cached ones. */
function makeCase(
  sizes: (typeof LAYERS)[number],
  past: number,
  T: number,
  kv: KvDtype = 'float32',
): BenchCase {
  const { hidden, numKeyValueHeads, headDim } = sizes;
  const length = past + T;
  const config = { ...sizes, numLayers: 1 } as unknown as ModelConfig;
  const keysAndValues = new KvCache(config, 2, length, length, kv);
  const cache = keysAndValues.layer(0);
  const { layer, bytes } = makeLayer(sizes);
  const slots = Int32Array.from({ length: 2 * T }, (_, i) => past + (i % T));
  const angles = new Float32Array(length * headDim).fill(Math.SQRT1_2);
  const places = {
    positions: int32Tensor(slots, [2, T]) as tf.Tensor2D,
    rows: int32Tensor(Int32Array.of(0, 1)) as tf.Tensor1D,
    rotation: float32Tensor(angles, [length, headDim]) as tf.Tensor2D,
  };
  const x = tf.randomNormal<tf.Rank.R2>([2 * T, hidden], 0, 1, 'float32', 1);
  const one = { layers: [layer], caches: [cache] };
  return {
    label: `bfloat16 hidden ${hidden}, past=${past} new=${T}, cache ${kv}`,
    bytes: bytes + 4 * numKeyValueHeads * length * headDim * BYTES_PER_ELEMENT[kv],
    tolerance: kv === 'float32' ? 1e-5 : 2e-3, // a key near the middle of two is rounded either way
    variants: [
      { name: 'product', run: () => [decoderLayers({ x, places, ...one })] },
      { name: 'reference', run: () => decoderLayersReference({ x, ...places }, one) },
    ],
    dispose: () => {
      const weights = Object.values(layer.tensors).filter((tensor) => tensor !== undefined);
      tf.dispose([
        x,
        ...Object.values(places),
        ...weights,
        ...(layer.handle ? [layer.handle] : []),
      ]);
      keysAndValues.dispose();
    },
  };
}

export const bench: KernelBench = {
  kernel: 'decoder-layer',
  cases: LAYERS.flatMap((sizes) => [
    () => makeCase(sizes, 127, 1),
    () => makeCase(sizes, 1023, 1),
    () => makeCase(sizes, 1023, 1, 'bfloat16'),
    () => makeCase(sizes, 0, 256),
  ]),
};
