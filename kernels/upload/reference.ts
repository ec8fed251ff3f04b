import type { Tensor } from '@tensorflow/tfjs-core';
import { float32Tensor } from '../../src/runtime/device-tensors.js';
import type { UploadInputs } from './index.js';

/** `upload` by tfjs's own way to the device. */
export function uploadReference({ bits }: UploadInputs): Tensor[] {
  const floats = new Float32Array((bits.dataSync() as Int32Array).slice().buffer);
  return [float32Tensor(floats, bits.shape)];
}
