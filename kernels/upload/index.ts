import type { Tensor } from '@tensorflow/tfjs-core';
import { executeOp, onGpu } from '../../src/runtime/backend.js';
import { float32Tensor, int32Tensor } from '../../src/runtime/device-tensors.js';
import { defineKernel } from '../define.js';
import { uploadReference } from './reference.js';

export type UploadInputs = { bits: Tensor };

const NAME = 'SdaUpload';

/** The bits of float32 numbers, int32 on the host, as float32 on the device. */
export const uploadBits = defineKernel<UploadInputs, object>({
  name: NAME,
  native: ({ bits }) => executeOp(NAME, [], [bits]),
  reference: uploadReference,
});

/**
 * A few numbers as a tensor of the device. On a GPU neither the host nor the device waits for the other: tfjs's own
 * `tensor` returns there after everything that was asked of the device before.
 *
 * @returns float32 [values.length] or `shape`; the caller disposes it.
 */
export function upload(
  values: readonly number[] | Float32Array,
  shape: readonly number[] = [values.length],
): Tensor {
  const floats = Float32Array.from(values);
  if (!onGpu()) return float32Tensor(floats, shape); // nothing to wait for
  const bits = int32Tensor(new Int32Array(floats.buffer), shape); // int32 stays on the host
  const [tensor] = uploadBits({ bits }, {});
  bits.dispose();
  return tensor!;
}
