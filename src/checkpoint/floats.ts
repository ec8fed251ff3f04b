import type { Checkpoint } from './checkpoint.js';
import type { WeightDtype } from './dtype.js';
import { widen } from './widen.js';

/** The values of a tensor of floats as float32, row-major, in memory of their own; its dtype must have been checked. */
export async function readFloats(checkpoint: Checkpoint, name: string): Promise<Float32Array> {
  const dtype = checkpoint.tensors.get(name)?.dtype as WeightDtype;
  const bytes = await checkpoint.read(name);
  if (dtype === 'F32') return new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
  const values = new Float32Array(bytes.length / 2);
  widen(bytes, dtype, new Uint8Array(values.buffer));
  return values;
}
