/** Bits per element of every dtype that the safetensors format names. */
export const DTYPE_BITS = {
  BOOL: 8,
  F4: 4,
  F6_E2M3: 6,
  F6_E3M2: 6,
  U8: 8,
  I8: 8,
  F8_E5M2: 8,
  F8_E4M3: 8,
  F8_E5M2FNUZ: 8,
  F8_E4M3FNUZ: 8,
  F8_E8M0: 8,
  I16: 16,
  U16: 16,
  F16: 16,
  BF16: 16,
  I32: 32,
  U32: 32,
  F32: 32,
  C64: 64,
  F64: 64,
  I64: 64,
  U64: 64,
} as const;

/** A dtype of the safetensors format. */
export type TensorDtype = keyof typeof DTYPE_BITS;

/** The dtypes that model weights can have here: kept as they are, or widened exactly. */
export const WEIGHT_DTYPES = ['F32', 'F16', 'BF16'] as const;

/** A dtype that model weights can have here. */
export type WeightDtype = (typeof WEIGHT_DTYPES)[number];

/** What TensorFlow and config.json call them. */
export const DTYPE_NAMES = { F16: 'float16', BF16: 'bfloat16', F32: 'float32' } as const;

/** Whether the format names this dtype. */
export function isTensorDtype(dtype: string): dtype is TensorDtype {
  return Object.hasOwn(DTYPE_BITS, dtype);
}

/** Whether weights of this dtype can be computed with. */
export function isWeightDtype(dtype: string): dtype is WeightDtype {
  return (WEIGHT_DTYPES as readonly string[]).includes(dtype);
}

/**
 * Bytes of a tensor, or null where the shape has no whole or exactly representable number of them
 * (a sub-byte dtype that does not fill its last byte, or a product above 2^53).
 */
export function tensorByteLength(dtype: TensorDtype, shape: readonly number[]): number | null {
  if (shape.includes(0)) return 0;
  let elements = 1;
  for (const size of shape) {
    elements *= size;
    if (!Number.isSafeInteger(elements)) return null;
  }
  const bits = elements * DTYPE_BITS[dtype];
  return Number.isSafeInteger(bits) && bits % 8 === 0 ? bits / 8 : null;
}
