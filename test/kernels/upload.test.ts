import { expect, test } from 'vitest';
import { upload, uploadBits } from '../../kernels/upload/index.js';
import { uploadReference } from '../../kernels/upload/reference.js';
import { deviceDtype } from '../../src/runtime/backend.js';
import { int32Tensor } from '../../src/runtime/device-tensors.js';
import { WITHOUT_NATIVE } from '../support/native.js';
import { expectNoLeak, useTensorFlow, valuesOf } from '../support/tensorflow.js';

useTensorFlow();

const { NaN: nan, POSITIVE_INFINITY: infinity } = Number;
const VALUES = [0, -0, 1.5, Math.fround(Math.PI), -infinity, nan, 1e-40, 3.4028234663852886e38];

test('numbers are on the device as float32, every one of them', async () => {
  await expectNoLeak(() => {
    const tensor = upload(VALUES);
    expect(tensor.shape).toEqual([8]);
    expect(deviceDtype(tensor)).toBe('float32');
    expect(valuesOf(tensor)).toEqual(VALUES.map(Math.fround));
  });
});

test('a shape, and more numbers than one launch of a GPU takes', async () => {
  await expectNoLeak(() => {
    const values = Float32Array.from({ length: 3000 }, (_, i) => i - 0.5);
    const expected = [...values];
    const tensor = upload(values, [3, 1000]);
    expect(tensor.shape).toEqual([3, 1000]);
    values.fill(0); // the caller's array is the caller's
    expect(valuesOf(tensor)).toEqual(expected);
  });
});

test('its operation and its reference give the same bits', async ({ skip }) => {
  skip(...WITHOUT_NATIVE);
  await expectNoLeak(() => {
    const bits = int32Tensor(new Int32Array(Float32Array.from(VALUES).buffer), [2, 4]);
    for (const [tensor] of [uploadBits({ bits }, {}), uploadReference({ bits })]) {
      expect(tensor!.shape).toEqual([2, 4]);
      expect(valuesOf(tensor!)).toEqual(VALUES.map(Math.fround));
    }
    bits.dispose();
  });
});
