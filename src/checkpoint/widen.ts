import type { WeightDtype } from './dtype.js';

/**
 * The values of a tensor as float32, which holds every float16 and bfloat16 exactly.
 *
 * @param bytes little-endian elements of `dtype`, aligned for them
 * @param into as many elements, 4-byte aligned
 */
export function widen(bytes: Uint8Array, dtype: WeightDtype, into: Uint8Array): void {
  if (dtype === 'F32') {
    into.set(bytes);
    return;
  }
  const narrow = new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 2);
  const wide = new Uint32Array(into.buffer, into.byteOffset, narrow.length);
  const bitsOf = dtype === 'BF16' ? (bits: number) => bits << 16 : float16Bits;
  for (let i = 0; i < narrow.length; i++) wide[i] = bitsOf(narrow[i]!);
}

/** The bits of a float16 as those of the same float32. */
function float16Bits(bits: number): number {
  const sign = (bits & 0x8000) << 16;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0x1f) return sign | 0x7f800000 | (fraction << 13);
  if (exponent > 0) return sign | ((exponent + 112) << 23) | (fraction << 13);
  if (fraction === 0) return sign;
  // a subnormal is a normal float32: its highest bit becomes the hidden one
  const shift = Math.clz32(fraction) - 21;
  return sign | ((113 - shift) << 23) | (((fraction << shift) & 0x3ff) << 13);
}
