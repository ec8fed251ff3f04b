import { expect, it } from 'vitest';
import { widen } from '../../src/checkpoint/widen.js';
import { numberOf } from '../support/safetensors.js';

it.each(['F16', 'BF16'] as const)('every %s becomes the float32 of the same value', (dtype) => {
  const bits = Uint16Array.from({ length: 2 ** 16 }, (_, i) => i);
  const wide = new Float32Array(bits.length);
  widen(new Uint8Array(bits.buffer), dtype, new Uint8Array(wide.buffer));
  const wrong = [...bits].filter((each) => !Object.is(wide[each], numberOf(each, dtype)));
  expect(wrong).toEqual([]);
});

it('F32 is copied', () => {
  const values = new Float32Array([1.5, -0, Number.NaN, 3e-45]);
  const into = new Float32Array(4);
  widen(new Uint8Array(values.buffer), 'F32', new Uint8Array(into.buffer));
  expect(into).toEqual(values);
});
