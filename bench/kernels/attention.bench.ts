import * as tf from '@tensorflow/tfjs-core';
import {
  type AttentionAttrs,
  type AttentionInputs,
  attention,
} from '../../kernels/attention/index.js';
import { attentionReference } from '../../kernels/attention/reference.js';
import type { ModelConfig } from '../../src/model/config.js';
import { KvCache } from '../../src/model/kv-cache.js';
import { float32Tensor, int32Tensor } from '../../src/runtime/device-tensors.js';
import type { BenchCase, KernelBench } from '../harness.js';

/** Heads of the default model and of a 1.5B one. */
const HEADS = [
  { numHeads: 9, numKeyValueHeads: 3, headDim: 64 },
  { numHeads: 12, numKeyValueHeads: 2, headDim: 128 },
] as const;

/** T new tokens of two streams after `past` cached ones. */
function makeCase(heads: (typeof HEADS)[number], past: number, T: number): BenchCase {
  const { numHeads, numKeyValueHeads, headDim } = heads;
  const length = past + T;
  const cache = new KvCache(
    { ...heads, numLayers: 1 } as unknown as ModelConfig,
    2,
    length,
    length,
  );
  const layer = cache.layer(0);
  const width = (numHeads + 2 * numKeyValueHeads) * headDim;
  const slots = Array.from({ length: 2 * T }, (_, i) => past + (i % T));
  const inputs = {
    qkv: tf.randomNormal<tf.Rank.R2>([2 * T, width], 0, 1, 'float32', 1),
    positions: int32Tensor(Int32Array.from(slots), [2, T]) as tf.Tensor2D,
    rows: int32Tensor(Int32Array.of(0, 1)) as tf.Tensor1D,
    rotation: float32Tensor(new Float32Array(2 * T * headDim).fill(Math.SQRT1_2), [
      2 * T,
      headDim,
    ]) as tf.Tensor2D,
    queryNorm: undefined,
    keyNorm: undefined,
  };
  const rest = { ...heads, window: 0, epsilon: 0 };
  const raw: AttentionInputs = { ...inputs, keys: layer.keys, values: layer.values };
  const attrs: AttentionAttrs = { ...rest, capacity: layer.capacity, cacheRows: 2 };
  return {
    label: `${numHeads}/${numKeyValueHeads} heads of ${headDim}, past=${past} new=${T}`,
    bytes: 2 * 2 * numKeyValueHeads * length * headDim * 4,
    tolerance: 1e-5,
    variants: [
      { name: 'product', run: () => [attention({ ...inputs, ...rest, cache: layer })] },
      { name: 'reference', run: () => attentionReference(raw, attrs) },
    ],
    dispose: () => {
      tf.dispose([inputs.qkv, inputs.positions, inputs.rows, inputs.rotation]);
      cache.dispose();
    },
  };
}

export const bench: KernelBench = {
  kernel: 'attention',
  cases: HEADS.flatMap((heads) => [
    () => makeCase(heads, 127, 1),
    () => makeCase(heads, 1023, 1),
    () => makeCase(heads, 0, 512),
  ]),
};
