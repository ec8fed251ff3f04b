import { type DataId, engine, type Tensor, type Tensor2D } from '@tensorflow/tfjs-core';
import { SdaError } from '../errors.js';
import {
  attr,
  deviceDtype,
  executeOp,
  nodeBackend,
  type OpAttribute,
  onGpu,
  TfDtype,
} from './backend.js';
import { float32Tensor, toFloat32 } from './device-tensors.js';

/** Bits of a quantised weight. */
export type QuantisedBits = 8 | 4;

/** How the numbers of a matrix become weights: see `kernels/linear/quantised.h`. */
export interface QuantisedForm {
  /** Type of the scales */
  readonly scales: ScaleDtype;
  /** `own`: as `quantise` makes them; `whole` numbers of each group; `none`: half of the range is 0 */
  readonly zeros: ZeroPoints;
  /** Whether columns stand in an order of their own */
  readonly ordered: boolean;
}
const SCALES = ['bfloat16', 'float16', 'float32'] as const;
const ZEROS = ['own', 'whole', 'none'] as const;
export type ScaleDtype = (typeof SCALES)[number];
export type ZeroPoints = (typeof ZEROS)[number];

const OWN_FORM: QuantisedForm = { scales: 'bfloat16', zeros: 'own', ordered: false };

/** A quantised matrix: see `kernels/linear/quantised.h`, which has the layout. */
export interface QuantisedShape {
  readonly bits: QuantisedBits;
  readonly rows: number;
  readonly columns: number;
  /** Matrices of `rows / parts` rows, one below the other, that a kernel meets row by row together */
  readonly parts: number;
  /** Absent where `quantise` made it */
  readonly form?: QuantisedForm | undefined;
}

/** Columns that share a scale. */
export const GROUP = 32;
/** Rows of a block. */
export const BLOCK_ROWS = 16;
/** Bytes of the header, and of a line of a block. */
export const LINE = 64;
export const MAGIC = 'SDAQ32.1';

/** Where things are in a block of 16 rows, in bytes. */
export function blockLayout({
  bits,
  columns,
  form = OWN_FORM,
}: Pick<QuantisedShape, 'bits' | 'columns' | 'form'>) {
  const groups = Math.ceil(columns / GROUP);
  const scaleBytes = form.scales === 'float32' ? 4 : 2;
  const hasZeros = form.zeros === 'whole' || (form.zeros === 'own' && bits === 4);
  const zeros = scaleBytes * groups * BLOCK_ROWS;
  const values = linesUp(zeros + (hasZeros ? groups * BLOCK_ROWS : 0));
  const groupBytes = (BLOCK_ROWS * GROUP * bits) / 8;
  return { groups, hasZeros, zeros, values, groupBytes, bytes: values + groups * groupBytes };
}

const linesUp = (bytes: number) => Math.ceil(bytes / LINE) * LINE;

/** Bytes of a quantised matrix, its header among them. */
export function quantisedBytes(shape: QuantisedShape): number {
  return orderAt(shape) + (shape.form?.ordered ? linesUp(4 * shape.columns) : 0);
}

/** Where the order of columns stands, in bytes: for each place of a row, the column that it has, int32. */
export function orderAt(shape: QuantisedShape): number {
  return LINE + shape.parts * partBlocks(shape) * blockLayout(shape).bytes;
}

/** Blocks of each part. */
function partBlocks({ rows, parts }: QuantisedShape): number {
  return Math.ceil(rows / parts / BLOCK_ROWS);
}

/** The byte at which the block of row `n` begins, and which row of the block it is. */
export function rowAt(shape: QuantisedShape, n: number): readonly [number, number] {
  const rows = shape.rows / shape.parts;
  const block = Math.floor(n / rows) * partBlocks(shape) + Math.floor((n % rows) / BLOCK_ROWS);
  return [LINE + block * blockLayout(shape).bytes, (n % rows) % BLOCK_ROWS];
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
  const { scales, zeros, ordered } = shape.form ?? OWN_FORM;
  view.setUint32(32, SCALES.indexOf(scales), true);
  view.setUint32(36, ZEROS.indexOf(zeros), true);
  view.setUint32(40, ordered ? 1 : 0, true);
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
  const [scales, zeros, ordered] = [32, 36, 40].map((at) => view.getUint32(at, true));
  const form = { scales: SCALES[scales!]!, zeros: ZEROS[zeros!]!, ordered: ordered === 1 };
  if ((bits !== 8 && bits !== 4) || parts < 1 || rows % parts !== 0) return null;
  if (!form.scales || !form.zeros || ordered! > 1) return null;
  const own = scales === 0 && zeros === 0 && !form.ordered;
  return { bits, parts, rows, columns, ...(!own && { form }) };
}

/** Whether every scale of a matrix that `quantise` made is a finite number that is not negative. */
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
 * A quantised matrix as a tensor [rows, columns] on the device, from its bytes, at a multiple of 4 in their ArrayBuffer;
 * never write to them again. TensorFlow holds an int32 vector, and tfjs knows the shape alone: only kernels that know
 * quantised weights take it, and `widenWeights` widens it. The bytes travel as float32, since int32 would stay on the host
 * when a GPU is used. The caller disposes it.
 *
 * @throws SdaError `bad-tensor` where the header does not fit the bytes, or the order of columns names one that is not there
 */
export function quantisedTensor(bytes: Uint8Array): Tensor2D {
  const shape = soundHeader(bytes);
  const order = onGpu() ? orderOf(bytes, shape) : null; // on the CPU the kernels look for themselves
  if (order?.some((column) => column < 0 || column >= shape.columns)) throw notQuantised(bytes);
  const { buffer, byteOffset, byteLength } = bytes;
  const container = float32Tensor(new Float32Array(buffer, byteOffset, byteLength / 4));
  const [words] = executeOp('Bitcast', [attr.type('type', TfDtype.int32)], [container]);
  container.dispose();
  return withMatrixShape(words!, shape);
}

/** The same from a vector on the device, which is disposed. */
export function withMatrixShape(words: Tensor, shape: QuantisedShape): Tensor2D {
  const { dataId } = words;
  nodeBackend().incRef(dataId);
  SHAPES.set(dataId, shape);
  const matrix = engine().makeTensorFromTensorInfo({
    dataId,
    shape: [shape.rows, shape.columns],
    dtype: 'int32',
  });
  words.dispose();
  return matrix as Tensor2D;
}

/** What the headers of matrices say. */
const SHAPES = new WeakMap<DataId, QuantisedShape>();

/**
 * The attribute by which operations on a GPU, which cannot read headers, are told of quantised matrices; none on the CPU, nor
 * where none is quantised.
 */
export function toldShapes(...weights: readonly Tensor[]): OpAttribute[] {
  if (!onGpu() || !weights.some(isQuantised)) return [];
  return [attr.ints('quantised', weights.flatMap(headerNumbers))];
}

/** Seven numbers, see `ToldShapes` of `kernels/linear/matrix.h`; zeros for a matrix of floats. */
export function headerNumbers(weight: Tensor): readonly number[] {
  const shape = SHAPES.get(weight.dataId);
  if (!shape) return [0, 0, 0, 0, 0, 0, 0];
  const { bits, rows, columns, parts } = shape;
  const { scales, zeros, ordered } = shape.form ?? OWN_FORM;
  return [bits, rows, columns, parts, SCALES.indexOf(scales), ZEROS.indexOf(zeros), +ordered];
}

export function isQuantised(weight: Tensor): boolean {
  return weight.rank === 2 && deviceDtype(weight) === 'int32';
}

/** `int8` or `int4` for a quantised matrix; else the element type. */
export function weightDtype(weight: Tensor): string {
  if (!isQuantised(weight)) return deviceDtype(weight);
  return `int${SHAPES.get(weight.dataId)!.bits}`;
}

/** Bytes of a quantised matrix on the device, its header among them. */
export function quantisedByteLength(weight: Tensor): number {
  const [words] = nodeBackend().tensorMap.get(weight.dataId).shape;
  return 4 * words!;
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
  const { bits, rows, columns } = shape;
  const layout = blockLayout(shape);
  const order = orderOf(bytes, shape);
  const out = new Float32Array(rows * columns);
  for (let n = 0; n < rows; n++) {
    const [at, r] = rowAt(shape, n);
    for (let k = 0; k < columns; k++) {
      const group = Math.floor(k / GROUP) * BLOCK_ROWS + r;
      const [place, shift] = valueAt(bits, r, k);
      const byte = bytes[at + layout.values + place]!;
      const value = bits === 8 ? byte : (byte >> shift) & 15;
      const zero = zeroOf(shape, layout.hasZeros ? bytes[at + layout.zeros + group]! : 0);
      const scale = scaleOf(bytes, at, group, shape.form?.scales ?? 'bfloat16');
      out[n * columns + (order?.[k] ?? k)] = scale * (value - zero);
    }
  }
  return out;
}

/** For each place of a row, the column that it has; null where places are columns. */
function orderOf(bytes: Uint8Array, shape: QuantisedShape): Int32Array | null {
  if (!shape.form?.ordered) return null;
  const at = orderAt(shape);
  return new Int32Array(bytes.slice(at, at + 4 * shape.columns).buffer);
}

function scaleOf(bytes: Uint8Array, block: number, at: number, dtype: ScaleDtype): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset + block);
  if (dtype === 'float32') return view.getFloat32(4 * at, true);
  const bits = view.getUint16(2 * at, true);
  return dtype === 'float16' ? float16Of(bits) : bfloat16Of(bits);
}

/** Zero point of a group, whose byte is `zero` where the matrix has such. */
function zeroOf({ bits, form = OWN_FORM }: QuantisedShape, zero: number): number {
  if (form.zeros === 'none' || (form.zeros === 'own' && bits === 8)) return bits === 8 ? 128 : 8;
  if (form.zeros === 'own') return zero / 16;
  return bits === 8 ? ((zero << 24) >> 24) + 128 : zero;
}

const FLOAT = new Float32Array(1);
const FLOAT_BITS = new Uint32Array(FLOAT.buffer);

/** The number that 16 bits are as a bfloat16. */
export function bfloat16Of(bits: number): number {
  FLOAT_BITS[0] = bits << 16;
  return FLOAT[0]!;
}

function float16Of(bits: number): number {
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  const size = exponent === 0 ? fraction * 2 ** -24 : (1024 + fraction) * 2 ** (exponent - 25);
  return bits & 0x8000 ? -size : size;
}

function soundHeader(bytes: Uint8Array): QuantisedShape {
  const shape = readHeader(bytes);
  if (shape && quantisedBytes(shape) === bytes.byteLength) return shape;
  throw notQuantised(bytes);
}

function notQuantised(bytes: Uint8Array): SdaError {
  return new SdaError(
    'bad-tensor',
    `A quantised matrix was expected, but ${bytes.byteLength} bytes without a header that fits them were found; quantise the model again.`,
  );
}
