import type { WeightDtype } from './dtype.js';

/**
 * float32 values as stored bytes, little-endian, each rounded once: to nearest, ties to even. What exceeds a type's
 * range becomes infinite, as in IEEE 754. For F32 these are the bytes of `values` themselves.
 */
export function narrow(values: Float32Array, dtype: WeightDtype): Uint8Array {
  if (dtype === 'F32') return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const stored = new Uint16Array(values.length);
  const round = dtype === 'F16' ? float16Bits : bfloat16Bits;
  for (let i = 0; i < stored.length; i++) stored[i] = round(bits[i]!);
  return new Uint8Array(stored.buffer);
}

/** The least magnitude that rounds to no finite number of a type. */
const OVERFLOW = { F32: Number.POSITIVE_INFINITY, F16: 65_520, BF16: 2 ** 128 - 2 ** 119 };

/** Whether a finite value becomes infinite when it is narrowed to `dtype`. */
export function exceedsRange(values: Float32Array, dtype: WeightDtype): boolean {
  const least = OVERFLOW[dtype];
  for (let i = 0; i < values.length; i++) {
    const magnitude = Math.abs(values[i]!);
    if (magnitude >= least && magnitude < Number.POSITIVE_INFINITY) return true;
  }
  return false;
}

/** Bits of a float32 -> those of the nearest bfloat16. */
function bfloat16Bits(bits: number): number {
  if ((bits & 0x7fff_ffff) > 0x7f80_0000) return (bits >>> 16) | 0x40; // not a number, and quiet
  return (bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16;
}

/** The least float32 that rounds to no finite float16. */
const FLOAT16_OVERFLOW = 0x477f_f000;
/** The least normal float16, 2^-14, as float32. */
const FLOAT16_NORMAL = 0x3880_0000;

/** Bits of a float32 -> those of the nearest float16. */
function float16Bits(bits: number): number {
  const sign = (bits >>> 16) & 0x8000;
  const magnitude = bits & 0x7fff_ffff;
  if (magnitude > 0x7f80_0000) return sign | 0x7e00;
  if (magnitude >= FLOAT16_OVERFLOW) return sign | 0x7c00;
  if (magnitude < FLOAT16_NORMAL) return sign | subnormalFloat16(magnitude);
  const rebased = magnitude - 0x3800_0000; // the exponents' biases: 127 and 15
  return sign | ((rebased + 0xfff + ((rebased >>> 13) & 1)) >>> 13);
}

const oneFloat = new Float32Array(1);
const oneBits = new Uint32Array(oneFloat.buffer);

/** Subnormal numbers of float16 are multiples of 2^-24. */
function subnormalFloat16(magnitude: number): number {
  oneBits[0] = magnitude;
  const units = oneFloat[0]! * 2 ** 24;
  const whole = Math.floor(units);
  const rest = units - whole;
  return whole + (rest > 0.5 || (rest === 0.5 && whole % 2 === 1) ? 1 : 0);
}
