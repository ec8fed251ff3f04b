import * as tf from '@tensorflow/tfjs-core';
import { upload } from '../../kernels/upload/index.js';
import type { KernelBench } from '../harness.js';

/** What a step hands to the device: against tfjs's own way. */
export const bench: KernelBench = {
  kernel: 'upload',
  cases: [2, 32].map((count) => () => {
    const values = Float32Array.from({ length: count }, (_, i) => i / count);
    return {
      label: `${count} float32`,
      bytes: 4 * count,
      tolerance: 0,
      variants: [
        { name: 'product', run: () => [upload(values)] },
        { name: 'reference', run: () => [tf.tensor1d(values.slice())] },
      ],
      dispose: () => undefined,
    };
  }),
};
