import * as tf from '@tensorflow/tfjs-core';
import { readBack } from '../../kernels/read-back/index.js';
import type { KernelBench } from '../harness.js';

/** The draws of a step on their way to the host: against tfjs's own way. Its result goes back for the comparison. */
export const bench: KernelBench = {
  kernel: 'read-back',
  cases: [1, 16].map((queries) => () => {
    const draws = tf.randomNormal<tf.Rank.R2>([queries, 8], 0, 1, 'float32', 1);
    return {
      label: `queries=${queries} float32 [${queries}, 8]`,
      bytes: queries * 8 * 4,
      tolerance: 0,
      variants: [
        {
          name: 'product',
          run: () => {
            const reading = readBack(draws);
            const values = reading.values();
            reading.dispose();
            return [tf.tensor(values)];
          },
        },
        { name: 'reference', run: () => [tf.tensor(draws.dataSync())] },
      ],
      dispose: () => draws.dispose(),
    };
  }),
};
