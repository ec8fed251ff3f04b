import { reshape, type Tensor, tidy } from '@tensorflow/tfjs-core';
import {
  adoptHandle,
  attr,
  type DeviceDtype,
  deviceDtype,
  executeOp,
  nodeBackend,
  TfDtype,
} from './backend.js';

/** Bytes of one element on the device. */
export const BYTES_PER_ELEMENT: Record<DeviceDtype, number> = {
  float32: 4,
  bfloat16: 2,
  float16: 2,
};

/**
 * A device tensor over raw little-endian bytes, without conversion: float32, or a true bfloat16 or
 * float16 tensor. 16-bit data travels as float32 (int32 would stay on the host when a GPU is used) and is
 * bit-cast by TensorFlow.
 *
 * @param bytes the elements, 4-byte aligned in their ArrayBuffer; never write to them again: TensorFlow
 *   keeps the memory instead of copying it.
 * @returns a tensor labelled float32 for tfjs; `deviceDtype` tells its true type. The caller disposes it.
 */
export function tensorFromBytes(
  bytes: Uint8Array,
  shape: readonly number[],
  dtype: DeviceDtype,
): Tensor {
  if (dtype === 'float32') return float32Tensor(wholeFloats(bytes), shape);
  const elements = bytes.byteLength / BYTES_PER_ELEMENT[dtype];
  return tidy(() => {
    const container = float32Tensor(wholeFloats(bytes));
    const [pairs] = executeOp('Bitcast', [attr.type('type', TfDtype[dtype])], [container]);
    if (elements % 2 === 0) return reshapeAny(pairs!, shape);
    const flat = reshapeAny(pairs!, [elements + 1]);
    const used = withInt32([0], (begin) =>
      withInt32([elements], (size) => executeOp('Slice', [], [flat, begin, size])[0]!),
    );
    return reshapeAny(used, shape);
  });
}

/** The bytes as whole float32 containers: a view, or a copy padded with zeros when 2 bytes are left over. */
function wholeFloats(bytes: Uint8Array): Float32Array {
  if (bytes.byteLength % 4 === 0 && bytes.byteOffset % 4 === 0) {
    return new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
  }
  const padded = new Uint8Array(Math.ceil(bytes.byteLength / 4) * 4);
  padded.set(bytes);
  return new Float32Array(padded.buffer);
}

/** A tensor over a typed array's own memory: never write to the array again. */
function fromTypedArray(
  values: Float32Array | Int32Array,
  shape: readonly number[],
  dtype: number,
): Tensor {
  const id = nodeBackend().binding.createTensor([...shape], dtype, values);
  return adoptHandle({ id, shape: [...shape], dtype });
}

/** A host int32 tensor (int32 is never moved to a GPU by tfjs). The caller disposes it. */
export function int32Tensor(
  values: Int32Array,
  shape: readonly number[] = [values.length],
): Tensor {
  return fromTypedArray(values, shape, TfDtype.int32);
}

/** A device float32 tensor over `values`; never write to them again. The caller disposes it. */
export function float32Tensor(
  values: Float32Array,
  shape: readonly number[] = [values.length],
): Tensor {
  return fromTypedArray(values, shape, TfDtype.float32);
}

/** Reshape that also works on 16-bit tensors, which tfjs's own would copy as float32. */
export function reshapeAny(tensor: Tensor, shape: readonly number[]): Tensor {
  if (deviceDtype(tensor) === 'float32') return reshape(tensor, [...shape]);
  return withInt32(shape, (target) => executeOp('Reshape', [], [tensor, target])[0]!);
}

/** The tensor itself as float32: a cast for 16-bit tensors (exact), the same tensor otherwise. */
export function toFloat32(tensor: Tensor): Tensor {
  if (deviceDtype(tensor) === 'float32') return tensor;
  return castTo(tensor, 'float32');
}

/** Casts on the device between float32 and the 16-bit types. The caller disposes the result. */
export function castTo(tensor: Tensor, dtype: DeviceDtype): Tensor {
  return executeOp(
    'Cast',
    [attr.type('DstT', TfDtype[dtype]), attr.bool('Truncate', false)],
    [tensor],
  )[0]!;
}

/** The lines of a tensor of any type that `indices` name, along its first axis. The caller disposes them. */
export function gatherLines(tensor: Tensor, indices: Int32Array): Tensor {
  const inputs = [int32Tensor(indices.slice()), int32Tensor(Int32Array.of(0), [])];
  const [lines] = executeOp('GatherV2', [], [tensor, ...inputs]);
  for (const input of inputs) input.dispose();
  return lines!;
}

/** Passes a host int32 vector to `body` and disposes it afterwards. */
export function withInt32<T>(values: readonly number[], body: (tensor: Tensor) => T): T {
  const tensor = int32Tensor(Int32Array.from(values));
  try {
    return body(tensor);
  } finally {
    tensor.dispose();
  }
}
