import { widen } from '../../checkpoint/widen.js';
import { GROUP, type QuantisedBits, type ScaleDtype } from '../../runtime/quantised.js';

/**
 * A matrix [rows, columns] of weights w = scale (q - zero), as every format of whole numbers has it. A scale and a zero
 * belong to a row and a group of columns.
 */
export interface Integers {
  readonly rows: number;
  readonly bits: QuantisedBits;
  /** q, those of `32 / bits` places of a row in a word, the first in its lowest bits: word j of row n at `at(n, j)` */
  readonly words: Uint32Array;
  readonly wordAt: Strides;
  readonly columns: Columns;
  /** As stored, of group g of row n at `at(n, g)` */
  readonly scales: Uint16Array | Float32Array;
  readonly scaleDtype: ScaleDtype;
  /** At the places of the scales; null: half of the range */
  readonly zeros: Uint8Array | null;
  readonly scaleAt: Strides;
}

/** Element (row, i) of an array stands at `row * ofRow + i * ofItem`. */
export interface Strides {
  readonly ofRow: number;
  readonly ofItem: number;
}

/** What stands at each place of a row. */
export interface Columns {
  /** The group of each place */
  readonly groups: Int32Array;
  /** The column of each place; null where places are columns */
  readonly order: Int32Array | null;
}

/** Columns in groups of `size` neighbours. */
export function neighbours(count: number, size: number): Columns {
  return {
    groups: Int32Array.from({ length: count }, (_, k) => Math.floor(k / size)),
    order: null,
  };
}

/** Columns of any groups, those of a group side by side. */
export function gathered(groupOf: Int32Array): Columns {
  if (groupOf.every((group, k) => k === 0 || group >= groupOf[k - 1]!)) {
    return { groups: groupOf, order: null };
  }
  const order = Int32Array.from(groupOf.keys()).sort((a, b) => groupOf[a]! - groupOf[b]! || a - b);
  return { groups: order.map((column) => groupOf[column]!), order };
}

/** Whether all places that share a scale of the kernels have one group. */
export function inKernelGroups({ groups }: Columns): boolean {
  return groups.every((group, k) => k % GROUP === 0 || group === groups[k - 1]);
}

/** Numbers packed along the columns, put into the order of the places: word j of row n at `j * rows + n`. */
export function ordered(
  words: Uint32Array,
  { ofRow, ofItem }: Strides,
  rows: number,
  bits: QuantisedBits,
  order: Int32Array,
): Pick<Integers, 'words' | 'wordAt'> {
  const inWord = 32 / bits;
  const mask = 2 ** bits - 1;
  const made = new Uint32Array(rows * Math.ceil(order.length / inWord));
  for (let first = 0; first < order.length; first += inWord) {
    const columns = order.subarray(first, first + inWord);
    const from = columns.map((column) => Math.floor(column / inWord) * ofItem);
    const shifts = columns.map((column) => (column % inWord) * bits);
    const to = (first / inWord) * rows;
    for (let n = 0; n < rows; n++) {
      let word = 0;
      for (let i = 0; i < from.length; i++) {
        word |= ((words[from[i]! + n * ofRow]! >>> shifts[i]!) & mask) << (i * bits);
      }
      made[to + n] = word;
    }
  }
  return { words: made, wordAt: { ofRow: 1, ofItem: rows } };
}

/** Numbers of words that have them at some bits, those of a word in the order of `shifts`. */
export function unpacked(words: Uint32Array, shifts: readonly number[]): Uint8Array {
  const mask = 2 ** (32 / shifts.length) - 1;
  const numbers = new Uint8Array(words.length * shifts.length);
  let to = 0;
  for (const word of words) {
    for (const shift of shifts) numbers[to++] = (word >>> shift) & mask;
  }
  return numbers;
}

/** Of numbers whose first is in the lowest bits. */
export function inSequence(bits: QuantisedBits): readonly number[] {
  return Array.from({ length: 32 / bits }, (_, i) => i * bits);
}

/** Scales as float32, which holds all of them exactly. */
export function wideScales(scales: Uint16Array | Float32Array, dtype: ScaleDtype): Float32Array {
  if (scales instanceof Float32Array) return scales;
  const wide = new Float32Array(scales.length);
  const bytes = new Uint8Array(scales.buffer, scales.byteOffset, scales.byteLength);
  widen(bytes, dtype === 'float16' ? 'F16' : 'BF16', new Uint8Array(wide.buffer));
  return wide;
}

/** The weights, row-major, each rounded once to float32. */
export function weightsOf(integers: Integers): Float32Array {
  const { rows, bits, words, wordAt, columns, zeros, scaleAt } = integers;
  const { groups, order } = columns;
  const scales = wideScales(integers.scales, integers.scaleDtype);
  const inWord = 32 / bits;
  const mask = 2 ** bits - 1;
  const out = new Float32Array(rows * groups.length);
  for (let n = 0; n < rows; n++) {
    for (let k = 0; k < groups.length; k++) {
      const at = n * scaleAt.ofRow + groups[k]! * scaleAt.ofItem;
      const word = words[n * wordAt.ofRow + Math.floor(k / inWord) * wordAt.ofItem]!;
      const q = (word >>> ((k % inWord) * bits)) & mask;
      out[n * groups.length + (order?.[k] ?? k)] =
        scales[at]! * (q - (zeros?.[at] ?? 2 ** (bits - 1)));
    }
  }
  return out;
}
