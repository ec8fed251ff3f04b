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
 * Rows of one matrix that are neighbours in a block, of which `first` is the first. They are written side by side: words
 * that a format has side by side for all rows, far from the next ones, are then read so.
 */
interface Lanes {
  readonly source: Source;
  readonly first: number;
  readonly rows: Int32Array;
}

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
  const rowOf = (n: number) => all[rowOrder?.[n] ?? n]!;
  for (let n = 0, end: number; n < rows; n = end) {
    const [at, first] = rowAt(shape, n);
    const { source } = rowOf(n);
    end = n + 1;
    while (end < rows && rowAt(shape, end)[0] === at && rowOf(end).source === source) end++;
    const lanes = {
      source,
      first,
      rows: Int32Array.from({ length: end - n }, (_, i) => rowOf(n + i).n),
    };
    const bytes = into.subarray(at, at + layout.bytes);
    writeWords(lanes, wordsOf(bytes.subarray(layout.values)));
    writeScales(lanes, shape, bytes);
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
function writeWords({ source, first, rows }: Lanes, lines: Uint32Array): void {
  const { words, wordAt, bits, columns } = source;
  const count = Math.ceil((columns.groups.length * bits) / 32);
  const starts = rows.map((n) => n * wordAt.ofRow);
  for (let j = 0; j < count; j++) {
    const item = j * wordAt.ofItem;
    const to = j * BLOCK_ROWS + first;
    for (let i = 0; i < starts.length; i++) {
      const word = words[starts[i]! + item]!;
      lines[to + i] = bits === 8 ? word : spread(word & 0xffff) | (spread(word >>> 16) << 4);
    }
  }
}

/** Four numbers of 4 bits, a byte each. */
function spread(four: number): number {
  const two = (four | (four << 8)) & 0x00ff00ff;
  return (two | (two << 4)) & 0x0f0f0f0f;
}

/** And the zero points, where the form has them; those of 8 bits are stored less 128. */
function writeScales({ source, first, rows }: Lanes, shape: QuantisedShape, bytes: Uint8Array) {
  const { stored, zeros, scaleAt, columns, bits } = source;
  const { groups, zeros: zerosAt } = blockLayout(shape);
  const count = groups * BLOCK_ROWS;
  const scales =
    stored instanceof Float32Array
      ? new Float32Array(bytes.buffer, bytes.byteOffset, count)
      : new Uint16Array(bytes.buffer, bytes.byteOffset, count);
  const points = shape.form!.zeros === 'whole' ? bytes.subarray(zerosAt) : null;
  const half = 2 ** (bits - 1);
  const less = bits === 8 ? 128 : 0;
  const starts = rows.map((n) => n * scaleAt.ofRow);
  for (let g = 0; g < groups; g++) {
    const item = columns.groups[g * GROUP]! * scaleAt.ofItem;
    const to = g * BLOCK_ROWS + first;
    for (let i = 0; i < starts.length; i++) {
      const at = starts[i]! + item;
      scales[to + i] = stored[at]!;
      if (points) points[to + i] = (zeros ? zeros[at]! : half) - less;
    }
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
