import { engine, type Tensor, type Tensor2D } from '@tensorflow/tfjs-core';
import { SdaError } from '../errors.js';
import { deviceDtype, nodeBackend } from './backend.js';
import { float32Tensor, int32Tensor, toFloat32 } from './device-tensors.js';

/** Bits of a quantised weight. */
export type QuantisedBits = 8 | 4;

/** A quantised matrix: see `kernels/linear/quantised.h`, which has the layout. */
export interface QuantisedShape {
  readonly bits: QuantisedBits;
  readonly rows: number;
  readonly columns: number;
  /** Matrices of `rows / parts` rows, one below the other, that a kernel meets row by row together */
  readonly parts: number;
}

/** Columns that share a scale. */
export const GROUP = 32;
/** Rows of a block. */
export const BLOCK_ROWS = 16;
/** Bytes of the header, and of a line of a block. */
export const LINE = 64;
export const MAGIC = 'SDAQ32.1';

/** Where things are in a block of 16 rows, in bytes. */
export function blockLayout({ bits, columns }: Pick<QuantisedShape, 'bits' | 'columns'>) {
  const groups = Math.ceil(columns / GROUP);
  const zeros = 2 * groups * BLOCK_ROWS;
  const values = Math.ceil((zeros + (bits === 4 ? groups * BLOCK_ROWS : 0)) / LINE) * LINE;
  const groupBytes = (BLOCK_ROWS * GROUP * bits) / 8;
  return { groups, zeros, values, groupBytes, bytes: values + groups * groupBytes };
}

/** Bytes of a quantised matrix, its header among them. */
export function quantisedBytes(shape: QuantisedShape): number {
  return LINE + shape.parts * partBlocks(shape) * blockLayout(shape).bytes;
}

/** Blocks of each part. */
export function partBlocks({ rows, parts }: QuantisedShape): number {
  return Math.ceil(rows / parts / BLOCK_ROWS);
}

/** The byte of a block's values that has column `k` of row `r` of the block, and by how many bits it is shifted. */
export function valueAt(bits: QuantisedBits, r: number, k: number): readonly [number, number] {
  const inLine = bits === 8 ? 4 : 8;
  const i = k % GROUP;
  const line = Math.floor(k / GROUP) * ((GROUP * bits) / 32) + Math.floor(i / inLine);
  return [line * LINE + r * 4 + (i % 4), Math.floor((i % inLine) / 4) * 4];
}

export function writeHeader(bytes: Uint8Array, shape: QuantisedShape): void {
  bytes.set(new TextEncoder().encode(MAGIC));
  const view = new DataView(bytes.buffer, bytes.byteOffset, LINE);
  view.setUint32(8, shape.bits, true);
  view.setUint32(12, shape.parts, true);
  view.setBigUint64(16, BigInt(shape.rows), true);
  view.setBigUint64(24, BigInt(shape.columns), true);
}

/** What the header of a quantised matrix says; null where it is none. */
export function readHeader(bytes: Uint8Array): QuantisedShape | null {
  if (bytes.byteLength < LINE) return null;
  if (new TextDecoder('latin1').decode(bytes.subarray(0, 8)) !== MAGIC) return null;
  const view = new DataView(bytes.buffer, bytes.byteOffset, LINE);
  const [bits, parts] = [view.getUint32(8, true), view.getUint32(12, true)];
  const [rows, columns] = [16, 24].map((at) => Number(view.getBigUint64(at, true))) as [
    number,
    number,
  ];
  if ((bits !== 8 && bits !== 4) || parts < 1 || rows % parts !== 0) return null;
  return { bits, parts, rows, columns };
}

/** Whether every scale is a finite number that is not negative. */
export function soundScales(bytes: Uint8Array, shape: QuantisedShape): boolean {
  const { groups, bytes: blockBytes } = blockLayout(shape);
  for (let block = LINE; block < bytes.byteLength; block += blockBytes) {
    const at = bytes.byteOffset + block;
    const scales = new Uint16Array(bytes.buffer, at, groups * BLOCK_ROWS);
    for (const scale of scales) if (scale >= 0x7f80) return false;
  }
  return true;
}

/**
 * A quantised matrix as a tensor [rows, columns], from its bytes, at a multiple of 4 in their ArrayBuffer; never write to
 * them again. TensorFlow holds an int32 vector, and tfjs knows the shape alone: only kernels that know quantised weights
 * take it, and `widenWeights` widens it. The caller disposes it.
 */
export function quantisedTensor(bytes: Uint8Array): Tensor2D {
  const shape = soundHeader(bytes);
  const words = int32Tensor(new Int32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4));
  return withMatrixShape(words, shape);
}

/** The same from a vector on the device, which is disposed. */
export function withMatrixShape(words: Tensor, { rows, columns }: QuantisedShape): Tensor2D {
  const { dataId } = words;
  nodeBackend().incRef(dataId);
  const shape = [rows, columns];
  const matrix = engine().makeTensorFromTensorInfo({ dataId, shape, dtype: 'int32' });
  words.dispose();
  return matrix as Tensor2D;
}

export function isQuantised(weight: Tensor): boolean {
  return weight.rank === 2 && deviceDtype(weight) === 'int32';
}

/** `int8` or `int4` for a quantised matrix; else the element type. */
export function weightDtype(weight: Tensor): string {
  if (!isQuantised(weight)) return deviceDtype(weight);
  return `int${readHeader(quantisedBytesOf(weight))!.bits}`;
}

/** The bytes of a quantised matrix, copied from the device. */
export function quantisedBytesOf(weight: Tensor): Uint8Array {
  const backend = nodeBackend();
  const words = backend.binding.tensorDataSync(backend.tensorMap.get(weight.dataId).id);
  return new Uint8Array(words.buffer, words.byteOffset, words.byteLength);
}

/** A matrix of weights as float32: what quantised ones stand for, a cast of 16-bit ones, or the same tensor. */
export function widenWeights(weight: Tensor): Tensor {
  if (!isQuantised(weight)) return toFloat32(weight);
  return float32Tensor(dequantise(quantisedBytesOf(weight)), weight.shape);
}

/** The weights that quantised ones stand for, row-major. */
export function dequantise(bytes: Uint8Array): Float32Array {
  const shape = soundHeader(bytes);
  const { bits, rows, columns, parts } = shape;
  const layout = blockLayout(shape);
  const out = new Float32Array(rows * columns);
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const inPart = rows / parts;
  const scale = new Float32Array(1);
  const scaleBits = new Uint32Array(scale.buffer);
  for (let n = 0; n < rows; n++) {
    const block =
      Math.floor(n / inPart) * partBlocks(shape) + Math.floor((n % inPart) / BLOCK_ROWS);
    const at = LINE + block * layout.bytes;
    const r = (n % inPart) % BLOCK_ROWS;
    for (let k = 0; k < columns; k++) {
      const group = Math.floor(k / GROUP) * BLOCK_ROWS + r;
      scaleBits[0] = view.getUint16(at + 2 * group, true) << 16;
      const [place, shift] = valueAt(bits, r, k);
      const value = bytes[at + layout.values + place]!;
      const zero = bits === 8 ? 128 : bytes[at + layout.zeros + group]! / 16;
      out[n * columns + k] = scale[0]! * ((bits === 8 ? value : (value >> shift) & 15) - zero);
    }
  }
  return out;
}

function soundHeader(bytes: Uint8Array): QuantisedShape {
  const shape = readHeader(bytes);
  if (shape && quantisedBytes(shape) === bytes.byteLength) return shape;
  throw new SdaError(
    'bad-tensor',
    `A quantised matrix was expected, but ${bytes.byteLength} bytes without a header that fits them were found; quantise the model again.`,
  );
}
