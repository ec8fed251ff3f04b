import { tensor1d, tensor2d } from '@tensorflow/tfjs-core';
import { expect, test } from 'vitest';
import { attr, deviceDtype, executeOp, TfDtype } from '../../src/runtime/backend.js';
import {
  castTo,
  float32Tensor,
  int32Tensor,
  reshapeAny,
  tensorFromBytes,
  toFloat32,
} from '../../src/runtime/device-tensors.js';
import { errorOf, expectNoLeak, useTensorFlow, valuesOf } from '../support/tensorflow.js';

useTensorFlow();

// [bits, exact value], from the definitions of the formats
const BFLOAT16: readonly (readonly [number, number])[] = [
  [0x0000, 0],
  [0x8000, -0],
  [0x3f80, 1],
  [0xc000, -2],
  [0x3f81, 1 + 2 ** -7],
  [0x0001, 2 ** -133], // smallest subnormal
  [0x807f, -127 * 2 ** -133], // largest subnormal
  [0x0080, 2 ** -126],
  [0x7f7f, (2 - 2 ** -7) * 2 ** 127], // largest
  [0x7f80, Number.POSITIVE_INFINITY],
  [0xff80, Number.NEGATIVE_INFINITY],
];
const FLOAT16: readonly (readonly [number, number])[] = [
  [0x0000, 0],
  [0x8000, -0],
  [0x3c00, 1],
  [0xc000, -2],
  [0x3c01, 1 + 2 ** -10],
  [0x0001, 2 ** -24], // smallest subnormal
  [0x83ff, -1023 * 2 ** -24], // largest subnormal
  [0x0400, 2 ** -14],
  [0x7bff, 65504], // largest
  [0x7c00, Number.POSITIVE_INFINITY],
  [0xfc00, Number.NEGATIVE_INFINITY],
];

function bytesOf(bits: readonly number[]): Uint8Array {
  return new Uint8Array(Uint16Array.from(bits).buffer);
}

for (const [dtype, table] of [
  ['bfloat16', BFLOAT16],
  ['float16', FLOAT16],
] as const) {
  for (const count of [table.length, table.length - 1, 1, 2]) {
    test(`${count} ${dtype} values keep their exact value, subnormal and infinite ones too`, async () => {
      await expectNoLeak(() => {
        const used = table.slice(table.length - count);
        const stored = tensorFromBytes(bytesOf(used.map(([bits]) => bits)), [count, 1], dtype);
        expect(deviceDtype(stored)).toBe(dtype);
        expect(stored.shape).toEqual([count, 1]);
        const wide = toFloat32(stored);
        expect(wide).not.toBe(stored);
        expect(deviceDtype(wide)).toBe('float32');
        const back = castTo(wide, dtype);
        expect(valuesOf(toFloat32(back))).toEqual(used.map(([, value]) => value));
        expect(valuesOf(wide)).toEqual(used.map(([, value]) => value));
        back.dispose();
        stored.dispose();
      });
    });
  }

  test(`a ${dtype} NaN stays NaN`, () => {
    const stored = tensorFromBytes(bytesOf([0x7fff, 0x3c00]), [2], dtype);
    expect(valuesOf(toFloat32(stored))[0]).toBeNaN();
    stored.dispose();
  });

  test(`${dtype} bytes at an odd offset are read right`, () => {
    const moved = new Uint8Array(7);
    moved.set(bytesOf([0x4000, 0xc000]), 3);
    const stored = tensorFromBytes(moved.subarray(3), [2], dtype);
    expect(valuesOf(toFloat32(stored))).toEqual([2, -2]);
    stored.dispose();
  });

  test(`a ${dtype} tensor is reshaped without conversion`, async () => {
    await expectNoLeak(() => {
      const stored = tensorFromBytes(bytesOf(table.slice(1, 7).map(([bits]) => bits)), [6], dtype);
      const matrix = reshapeAny(stored, [2, 3]);
      expect(deviceDtype(matrix)).toBe(dtype);
      expect(matrix.shape).toEqual([2, 3]);
      expect(valuesOf(toFloat32(matrix))).toEqual(table.slice(1, 7).map(([, value]) => value));
      matrix.dispose();
      stored.dispose();
    });
  });
}

test('a float32 becomes the nearest bfloat16, halves to even', () => {
  // 1 + 2^-8 lies halfway between 1 and 1 + 2^-7; 1 + 3 * 2^-8 between 1 + 2^-7 and 1 + 2^-6
  const source = tensor1d([1 + 2 ** -8, 1 + 3 * 2 ** -8, 1 + 2 ** -8 + 2 ** -20]);
  const narrow = castTo(source, 'bfloat16');
  expect(valuesOf(toFloat32(narrow))).toEqual([1, 1 + 2 ** -6, 1 + 2 ** -7]);
  narrow.dispose();
  source.dispose();
});

test('a float32 beyond float16 becomes infinite', () => {
  const source = tensor1d([65504, 65520, -1e6]);
  const narrow = castTo(source, 'float16');
  expect(valuesOf(toFloat32(narrow))).toEqual([
    65504,
    Number.POSITIVE_INFINITY,
    Number.NEGATIVE_INFINITY,
  ]);
  narrow.dispose();
  source.dispose();
});

test('float32 bytes become a float32 tensor, and a float32 tensor is its own float32 form', () => {
  const values = Float32Array.from([1.5, -2, 2 ** -149, 3e38]);
  const tensor = tensorFromBytes(new Uint8Array(values.buffer), [2, 2], 'float32');
  expect(deviceDtype(tensor)).toBe('float32');
  expect(toFloat32(tensor)).toBe(tensor);
  expect(valuesOf(tensor)).toEqual([...values]);
});

test('deviceDtype tells the type of tensors that tfjs made', () => {
  const tensors = [tensor1d([1]), tensor1d([1], 'int32'), tensor1d([true], 'bool')];
  expect(tensors.map(deviceDtype)).toEqual(['float32', 'int32', 'bool']);
  const ints = int32Tensor(Int32Array.from([3, -4]));
  expect(deviceDtype(ints)).toBe('int32');
  expect(valuesOf(ints)).toEqual([3, -4]);
  for (const tensor of tensors) tensor.dispose();
});

test('an operation that fails throws an Error and leaves no tensor', async () => {
  await expectNoLeak(async () => {
    const a = tensor2d([[1, 2]]);
    const b = float32Tensor(Float32Array.from([1, 2, 3]), [1, 3]);
    const error = await errorOf(() => executeOp('MatMul', [], [a, b]));
    expect(error).toBeInstanceOf(Error);
    const unknown = await errorOf(() => executeOp('NoSuchOperation', [], [a]));
    expect(unknown).toBeInstanceOf(Error);
    expect(unknown.message).toContain('NoSuchOperation');
    const cast = () => executeOp('Cast', [attr.type('DstT', TfDtype.resource)], [a]);
    expect(await errorOf(cast)).toBeInstanceOf(Error);
    a.dispose();
    b.dispose();
  });
});
