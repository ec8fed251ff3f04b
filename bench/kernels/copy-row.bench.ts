import * as tf from '@tensorflow/tfjs-core';
import { copyRow } from '../../kernels/copy-row/index.js';
import { copyRowReference } from '../../kernels/copy-row/reference.js';
import type { ModelConfig } from '../../src/model/config.js';
import { KvCache } from '../../src/model/kv-cache.js';
import { attr, executeOp, TfDtype } from '../../src/runtime/backend.js';
import { int32Tensor, withInt32 } from '../../src/runtime/device-tensors.js';
import type { BenchCase, KernelBench } from '../harness.js';

/**
 * A prefix of so many tokens in a cache of the default model's sizes. The row of one variable that is read for the
 * comparison is part of the time.
 */
function makeCase(length: number): BenchCase {
  const [layers, rows, heads, capacity, headDim] = [30, 16, 3, 1536, 64];
  const sizes = { numLayers: layers, numKeyValueHeads: heads, headDim };
  const cache = new KvCache(sizes as ModelConfig, rows, capacity, capacity);
  const variables = Array.from({ length: layers }, (_, layer) => cache.layer(layer)).flatMap(
    ({ keys, values }) => [keys, values],
  );
  const of = { variables, shape: [rows, heads, capacity, headDim], dtype: 'float32' } as const;
  const places = int32Tensor(Int32Array.of(3, 12, length)) as tf.Tensor1D;
  const float = attr.type('dtype', TfDtype.float32);
  const last = variables.at(-1)!;
  const line = tf.randomNormal([1, heads, capacity, headDim], 0, 1, 'float32', 1);
  const scales = tf.tensor4d([0, 0, 0, 1, ...Array(rows - 4).fill(0)], [rows, 1, 1, 1]);
  const values = tf.mul(line, scales);
  executeOp('AssignVariableOp', [float], [last, values], 0);
  tf.dispose([line, scales, values]);
  const row = (index: number) =>
    withInt32([index], (at) => executeOp('ResourceGather', [float], [last, at]));
  return {
    label: `float32 ${variables.length} x [${rows}, ${heads}, ${capacity}, ${headDim}] length=${length}`,
    bytes: 2 * variables.length * heads * length * headDim * 4,
    tolerance: 0,
    variants: [
      {
        name: 'product',
        run: () => {
          copyRow(of, { from: 3, to: 9, length });
          return row(9);
        },
      },
      {
        name: 'reference',
        run: () => {
          copyRowReference({ places }, of);
          return row(12);
        },
      },
    ],
    dispose: () => {
      cache.dispose();
      places.dispose();
    },
  };
}

export const bench: KernelBench = {
  kernel: 'copy-row',
  cases: [64, 1000].map((length) => () => makeCase(length)),
};
