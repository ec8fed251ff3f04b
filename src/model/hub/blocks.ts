import {
  BLOCK_ROWS,
  blockLayout,
  GROUP,
  orderAt,
  type QuantisedShape,
  quantisedBytes,
  rowAt,
  writeHeader,
} from '../../runtime/quantised.js';
import { type Integers, wideScales } from './integers.js';

/** A matrix of integers and a row of it. */
interface Row {
  readonly source: Source;
  readonly n: number;
}
type Source = Integers & { readonly stored: Uint16Array | Float32Array };

/**
 * Matrices one below the other in the layout of the kernels (`kernels/linear/quantised.h`): every number, scale and zero
 * point as it is. They must have the bits and the columns of `shape`.
 *
 * @param rowOrder for each row of the result, which row of the stack it is; default: the same
 * @param into of `quantisedBytes(shape)` bytes, at a multiple of 4 in its ArrayBuffer
 */
export function writeBlocks(
  matrices: readonly Integers[],
  shape: QuantisedShape,
  into: Uint8Array,
  rowOrder?: Uint32Array,
): void {
  const { rows, form } = shape;
  const layout = blockLayout(shape);
  const widened = form!.scales === 'float32';
  const sources = matrices.map((matrix): Source => {
    return {
      ...matrix,
      stored: widened ? wideScales(matrix.scales, matrix.scaleDtype) : matrix.scales,
    };
  });
  const all = sources.flatMap((source) =>
    Array.from({ length: source.rows }, (_, n): Row => ({ source, n })),
  );
  into.fill(0);
  writeHeader(into, shape);
  for (let n = 0; n < rows; n++) {
    const row = all[rowOrder?.[n] ?? n]!;
    const [at, r] = rowAt(shape, n);
    const bytes = into.subarray(at, at + layout.bytes);
    writeWords(row, r, wordsOf(bytes.subarray(layout.values)));
    writeScales(row, r, shape, bytes);
    if (form!.zeros === 'whole') writeZeros(row, r, shape, bytes.subarray(layout.zeros));
  }
  const { order } = sources[0]!.columns;
  if (form!.ordered && order) {
    into.set(new Uint8Array(order.buffer, order.byteOffset, order.byteLength), orderAt(shape));
  }
}

function wordsOf(bytes: Uint8Array): Uint32Array {
  return new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
}

/** A word is what a row has in a line. */
function writeWords({ source, n }: Row, r: number, lines: Uint32Array): void {
  const { words, wordAt, bits, columns } = source;
  const count = Math.ceil((columns.groups.length * bits) / 32);
  let from = n * wordAt.ofRow;
  for (let j = 0; j < count; j++, from += wordAt.ofItem) {
    const word = words[from]!;
    lines[j * BLOCK_ROWS + r] =
      bits === 8 ? word : spread(word & 0xffff) | (spread(word >>> 16) << 4);
  }
}

/** Four numbers of 4 bits, a byte each. */
function spread(four: number): number {
  const two = (four | (four << 8)) & 0x00ff00ff;
  return (two | (two << 4)) & 0x0f0f0f0f;
}

function writeScales({ source, n }: Row, r: number, shape: QuantisedShape, bytes: Uint8Array) {
  const { stored, scaleAt, columns } = source;
  const { groups } = blockLayout(shape);
  const count = groups * BLOCK_ROWS;
  const to =
    stored instanceof Float32Array
      ? new Float32Array(bytes.buffer, bytes.byteOffset, count)
      : new Uint16Array(bytes.buffer, bytes.byteOffset, count);
  for (let g = 0; g < groups; g++) {
    const at = n * scaleAt.ofRow + columns.groups[g * GROUP]! * scaleAt.ofItem;
    to[g * BLOCK_ROWS + r] = stored[at]!;
  }
}

/** Zero points of 8 bits are stored less 128. */
function writeZeros({ source, n }: Row, r: number, shape: QuantisedShape, to: Uint8Array): void {
  const { zeros, scaleAt, columns, bits } = source;
  const { groups } = blockLayout(shape);
  for (let g = 0; g < groups; g++) {
    const at = n * scaleAt.ofRow + columns.groups[g * GROUP]! * scaleAt.ofItem;
    const zero = zeros?.[at] ?? 2 ** (bits - 1);
    to[g * BLOCK_ROWS + r] = bits === 8 ? zero - 128 : zero;
  }
}

/** The bytes of {@link writeBlocks}, in `into` where it is given and lies as they must. */
export function blocksOf(
  matrices: readonly Integers[],
  shape: QuantisedShape,
  into: Uint8Array | undefined,
  rowOrder?: Uint32Array,
): Uint8Array {
  const aligned = into && into.byteOffset % 4 === 0 ? into : new Uint8Array(quantisedBytes(shape));
  writeBlocks(matrices, shape, aligned, rowOrder);
  if (into && aligned !== into) into.set(aligned);
  return into ?? aligned;
}
