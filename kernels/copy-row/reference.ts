import { type Tensor, tidy } from '@tensorflow/tfjs-core';
import { attr, executeOp, TfDtype } from '../../src/runtime/backend.js';
import { withInt32 } from '../../src/runtime/device-tensors.js';
import type { CopyRowInputs, RowVariables } from './index.js';

/** `copyRow` by TensorFlow's own operations: of each variable a row is read, cut, and written. */
export function copyRowReference(
  { places }: CopyRowInputs,
  { variables, shape, dtype }: RowVariables,
): Tensor[] {
  const [from, to, length] = places.dataSync() as Int32Array;
  const [, heads, , headDim] = shape;
  const type = attr.type('dtype', TfDtype[dtype]);
  for (const variable of variables) {
    tidy(() => {
      // reading all of the variable would copy it whole once a part has been assigned
      const row = withInt32(
        [from!],
        (at) => executeOp('ResourceGather', [type], [variable, at])[0]!,
      );
      const part = withInt32([0, 0, 0, 0], (begin) =>
        withInt32(
          [1, heads, length!, headDim],
          (size) => executeOp('Slice', [], [row, begin, size])[0]!,
        ),
      );
      withInt32([to!, 0, 0, 0], (begin) =>
        withInt32([to! + 1, heads, length!, headDim], (end) =>
          withInt32([1, 1, 1, 1], (strides) =>
            executeOp('ResourceStridedSliceAssign', [], [variable, begin, end, strides, part], 0),
          ),
        ),
      );
    });
  }
  return [];
}
