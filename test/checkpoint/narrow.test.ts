import { describe, expect, it } from 'vitest';
import { exceedsRange, narrow } from '../../src/checkpoint/narrow.js';
import { widen } from '../../src/checkpoint/widen.js';

/** Every value of a 16-bit type by its bits. */
function allOf(dtype: 'F16' | 'BF16'): Float32Array {
  const bits = Uint16Array.from({ length: 65_536 }, (_, i) => i);
  const values = new Float32Array(65_536);
  widen(new Uint8Array(bits.buffer), dtype, new Uint8Array(values.buffer));
  return values;
}

const bitsOf = (values: Float32Array, dtype: 'F16' | 'BF16') =>
  new Uint16Array(narrow(values.slice(), dtype).buffer);

describe.each(['F16', 'BF16'] as const)('%s', (dtype) => {
  const values = allOf(dtype);
  const numbers = Array.from(values.keys()).filter((bits) => !Number.isNaN(values[bits]!));

  it('every value keeps its bits, and what is no number stays none', () => {
    const found = bitsOf(values, dtype);
    expect(numbers.filter((bits) => found[bits] !== bits)).toEqual([]);
    const back = new Float32Array(65_536);
    widen(new Uint8Array(found.buffer), dtype, new Uint8Array(back.buffer));
    expect(back.every((value, bits) => Number.isNaN(value) === Number.isNaN(values[bits]!))).toBe(
      true,
    );
  });

  it('between two neighbours the nearer one is taken, in the middle the even one', () => {
    const next = new Uint32Array(1);
    const asFloat = new Float32Array(next.buffer);
    const stepped = (value: number, steps: number) => {
      asFloat[0] = value;
      next[0]! += steps;
      return asFloat[0]!;
    };
    const wrong: number[] = [];
    for (let bits = 0; Number.isFinite(values[bits + 1]!); bits++) {
      // the middle is a float32: it has one bit more than its neighbours
      const middle = (values[bits]! + values[bits + 1]!) / 2;
      const even = bits % 2 === 0 ? bits : bits + 1;
      const inputs = Float32Array.of(middle, stepped(middle, -1), stepped(middle, 1), -middle);
      const expected = [even, bits, bits + 1, even | 0x8000];
      const found = bitsOf(inputs, dtype);
      if (expected.some((value, i) => found[i] !== value)) wrong.push(bits);
    }
    expect(wrong).toEqual([]);
  });

  it('says what exceeds its range: what rounds to infinity', () => {
    const largest = Math.max(...values.filter(Number.isFinite));
    const least = largest + (largest - values[values.indexOf(largest) - 1]!) / 2;
    const limit = Math.fround(least);
    for (const value of [limit, -limit]) {
      expect(exceedsRange(Float32Array.of(0, value), dtype)).toBe(true);
    }
    const below = new Uint32Array(Float32Array.of(limit).buffer);
    below[0]! -= 1;
    const within = new Float32Array(below.buffer);
    expect(exceedsRange(within, dtype)).toBe(false);
    expect(exceedsRange(Float32Array.of(Number.POSITIVE_INFINITY, Number.NaN), dtype)).toBe(false);
  });
});

it('F32 are the bytes themselves', () => {
  const values = Float32Array.of(1, -0, 1e-45);
  expect(narrow(values, 'F32').buffer).toBe(values.buffer);
  expect(exceedsRange(Float32Array.of(3e38), 'F32')).toBe(false);
});
