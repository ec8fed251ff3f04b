/** Whether a view's elements follow one another in the order of its indices, the last axis fastest. */
export function isRowMajor(shape: readonly number[], strides: readonly number[]): boolean {
  let expected = 1;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    if (shape[axis] !== 1 && strides[axis] !== expected) return false;
    expected *= shape[axis]!;
  }
  return true;
}

/** Elements from a view's first to its last, both included; the view must not be empty. */
export function spannedElements(shape: readonly number[], strides: readonly number[]): number {
  return shape.reduce((sum, size, axis) => sum + (size - 1) * strides[axis]!, 1);
}

/**
 * Copies a view into row-major order.
 * @param from the bytes from its first element on, at offset 0 of their buffer
 * @param into as many bytes as its elements have, any alignment
 * @param width bytes of an element: 1, 2, 4 or 8
 */
export function copyStrided(
  from: Uint8Array,
  into: Uint8Array,
  shape: readonly number[],
  strides: readonly number[],
  width: number,
): void {
  const [source, target] = [
    elementsOf(from, width),
    elementsOf(new Uint8Array(into.length), width),
  ];
  const last = shape.length - 1;
  let done = 0;
  const copy = (axis: number, start: number) => {
    const [size, stride] = [shape[axis]!, strides[axis]!];
    for (let i = 0, at = start; i < size; i++, at += stride) {
      if (axis === last) target[done++] = source[at]!;
      else copy(axis + 1, at);
    }
  };
  copy(0, 0);
  into.set(new Uint8Array(target.buffer));
}

type Elements = Uint8Array | Uint16Array | Uint32Array | BigUint64Array;

function elementsOf({ buffer }: Uint8Array, width: number): Elements {
  if (width === 8) return new BigUint64Array(buffer);
  if (width === 4) return new Uint32Array(buffer);
  return width === 2 ? new Uint16Array(buffer) : new Uint8Array(buffer);
}

/** Turns big-endian elements into little-endian ones, in place. */
export function swapBytes(bytes: Uint8Array, width: number): void {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  if (width === 2) buffer.swap16();
  else if (width === 4) buffer.swap32();
  else if (width === 8) buffer.swap64();
}
