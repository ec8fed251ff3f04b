import { readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { openCheckpoint } from '../../src/checkpoint/checkpoint.js';
import { narrow } from '../../src/checkpoint/narrow.js';
import { buildFile } from '../checkpoint/build.js';

/** A tensor as a file holds it. */
export interface Stored {
  readonly name: string;
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly bytes: Uint8Array;
}

/** A safetensors file of some tensors. */
export function safetensorsFile(tensors: readonly Stored[]): Uint8Array {
  const header: Record<string, object> = Object.create(null);
  let end = 0;
  for (const { name, dtype, shape, bytes } of tensors) {
    header[name] = { dtype, shape, data_offsets: [end, end + bytes.length] };
    end += bytes.length;
  }
  return buildFile(JSON.stringify(header), Buffer.concat(tensors.map(({ bytes }) => bytes)));
}

/** Puts other tensors in the place of a checkpoint's own, in one file. */
export async function rewriteTensors(
  dir: string,
  change: (tensor: Stored) => Stored | readonly Stored[],
): Promise<void> {
  const checkpoint = await openCheckpoint(dir);
  const tensors: Stored[] = [];
  for (const [name, { dtype, shape }] of checkpoint.tensors) {
    tensors.push({ name, dtype, shape, bytes: await checkpoint.read(name) });
  }
  await checkpoint.close();
  for (const file of readdirSync(dir)) if (/safetensors/.test(file)) rmSync(join(dir, file));
  writeFileSync(join(dir, 'model.safetensors'), safetensorsFile(tensors.flatMap(change)));
}

/** The number that a float16 or bfloat16 stands for, by the definition of the formats. */
export function numberOf(bits: number, dtype: 'F16' | 'BF16'): number {
  const [width, bias] = dtype === 'F16' ? [10, 15] : [7, 127];
  const sign = bits >> 15 === 0 ? 1 : -1;
  const exponent = (bits & 0x7fff) >> width;
  const fraction = (bits & (2 ** width - 1)) / 2 ** width;
  if (exponent === 2 * bias + 1) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : NaN;
  return (
    sign * (exponent === 0 ? fraction * 2 ** (1 - bias) : (1 + fraction) * 2 ** (exponent - bias))
  );
}

/** A bfloat16 tensor stored as another type: exactly as float32, as near as it gets as float16. */
export function stored(tensor: Stored, dtype: 'F32' | 'BF16' | 'F16'): Stored {
  if (dtype === tensor.dtype) return tensor;
  if (tensor.dtype !== 'BF16' || dtype === 'BF16') throw new Error(`${tensor.dtype} to ${dtype}`);
  const bits = [...new Uint16Array(tensor.bytes.buffer)];
  const values = bits.map((each) => numberOf(each, 'BF16'));
  const bytes = narrow(new Float32Array(values), dtype);
  return { ...tensor, dtype, bytes };
}
