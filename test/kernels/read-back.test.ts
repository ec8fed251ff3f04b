import { add, tensor2d } from '@tensorflow/tfjs-core';
import { describe, expect, test } from 'vitest';
import { readBack, readBehind } from '../../kernels/read-back/index.js';
import { upload } from '../../kernels/upload/index.js';
import { expectNoLeak, useTensorFlow } from '../support/tensorflow.js';

useTensorFlow();

const WAYS = [
  ['as the device asks for it', readBack],
  ['by the operations', readBehind],
] as const;

describe.each(WAYS)('%s', (_, readBack) => {
  test('values come back, also when their tensor is gone', async () => {
    await expectNoLeak(() => {
      const tensor = tensor2d([
        [1, 2.5],
        [-3, 4],
      ]);
      const reading = readBack(tensor);
      tensor.dispose();
      expect([...reading.values()]).toEqual([1, 2.5, -3, 4]);
      expect([...reading.values()]).toEqual([1, 2.5, -3, 4]);
      reading.dispose();
    });
  });

  test('several are on their way at once, read in any order or not at all', async () => {
    await expectNoLeak(() => {
      const first = upload([1, 2, 3]);
      const second = add(first, 10);
      const [one, two, three] = [readBack(first), readBack(second), readBack(second)];
      expect([...two!.values()]).toEqual([11, 12, 13]);
      expect([...one!.values()]).toEqual([1, 2, 3]);
      for (const each of [first, second, one!, two!, three!]) each.dispose();
    });
  });

  test('nothing is a value too', () => {
    const none = upload([]);
    const reading = readBack(none);
    expect(reading.values()).toHaveLength(0);
    for (const each of [none, reading]) each.dispose();
  });
});
