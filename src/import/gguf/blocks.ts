import { widen } from '../../checkpoint/widen.js';

/** How a type of GGUF stores elements: in blocks of so many, each of so many bytes. */
export interface BlockType {
  readonly name: string;
  /** Elements of a block */
  readonly elements: number;
  /** Bytes of a block */
  readonly bytes: number;
  /** Whether the numbers of a block are integers with a scale of their own */
  readonly quantised: boolean;
}

const plain = (name: string, bytes: number): BlockType => ({
  name,
  elements: 1,
  bytes,
  quantised: false,
});
const blocks = (name: string, elements: number, bytes: number): BlockType => ({
  name,
  elements,
  bytes,
  quantised: true,
});

/** The types that can be read, by their number. Source: ggml's ggml.h. */
export const BLOCK_TYPES: ReadonlyMap<number, BlockType> = new Map([
  [0, plain('F32', 4)],
  [1, plain('F16', 2)],
  [2, blocks('Q4_0', 32, 18)],
  [3, blocks('Q4_1', 32, 20)],
  [6, blocks('Q5_0', 32, 22)],
  [7, blocks('Q5_1', 32, 24)],
  [8, blocks('Q8_0', 32, 34)],
  [12, blocks('Q4_K', 256, 144)],
  [13, blocks('Q5_K', 256, 176)],
  [14, blocks('Q6_K', 256, 210)],
  [30, plain('BF16', 2)],
]);

/** The other types, for the sentence that refuses them. */
export const OTHER_TYPES: Readonly<Record<number, string>> = {
  9: 'Q8_1',
  10: 'Q2_K',
  11: 'Q3_K',
  15: 'Q8_K',
  16: 'IQ2_XXS',
  17: 'IQ2_XS',
  18: 'IQ3_XXS',
  19: 'IQ1_S',
  20: 'IQ4_NL',
  21: 'IQ3_S',
  22: 'IQ2_S',
  23: 'IQ4_XS',
  24: 'I8',
  25: 'I16',
  26: 'I32',
  27: 'I64',
  28: 'F64',
  29: 'IQ1_M',
  34: 'TQ1_0',
  35: 'TQ2_0',
  39: 'MXFP4',
};

const FLOAT16 = new Float32Array(65_536);
widen(
  new Uint8Array(Uint16Array.from({ length: 65_536 }, (_, bits) => bits).buffer),
  'F16',
  new Uint8Array(FLOAT16.buffer),
);

/** The float16 at a byte. */
const half = (bytes: Uint8Array, at: number) => FLOAT16[bytes[at]! | (bytes[at + 1]! << 8)]!;

const round = Math.fround;

/** Reads the block that begins at byte `at` into `into` from element `to` on. */
type Dequantise = (bytes: Uint8Array, at: number, into: Float32Array, to: number) => void;

/**
 * Elements of a quantised type as float32. Every product and sum is rounded to float32 in the order of ggml's own
 * code, so the values are the same to the bit.
 * @param bytes whole blocks
 */
export function dequantise(bytes: Uint8Array, type: BlockType): Float32Array {
  const count = bytes.length / type.bytes;
  const values = new Float32Array(count * type.elements);
  const block = DEQUANTISE[type.name]!;
  for (let i = 0; i < count; i++) block(bytes, i * type.bytes, values, i * type.elements);
  return values;
}

/** Sixteen bytes hold 32 integers of 4 bits: the lower halves come first. */
function nibbles(
  bytes: Uint8Array,
  at: number,
  put: (index: number, integer: number) => void,
): void {
  for (let i = 0; i < 16; i++) {
    put(i, bytes[at + i]! & 15);
    put(i + 16, bytes[at + i]! >> 4);
  }
}

/** The fifth bit of each of 32 integers, from four bytes. */
const fifthBit = (bytes: Uint8Array, at: number, index: number) =>
  ((bytes[at + (index >> 3)]! >> (index & 7)) & 1) << 4;

/** The 6-bit scale and minimum of the sub-block `j` of eight, from twelve bytes. */
function scaleAndMinimum(bytes: Uint8Array, at: number, j: number): [number, number] {
  if (j < 4) return [bytes[at + j]! & 63, bytes[at + 4 + j]! & 63];
  const low = bytes[at + 4 + j]!;
  return [(low & 15) | ((bytes[at + j - 4]! >> 6) << 4), (low >> 4) | ((bytes[at + j]! >> 6) << 4)];
}

/** Eight sub-blocks of 32 integers, 4 bits in `low` and with `high` a fifth. */
function superBlock(
  bytes: Uint8Array,
  at: number,
  low: number,
  high: number | null,
  into: Float32Array,
  to: number,
): void {
  const [d, minimum] = [half(bytes, at), half(bytes, at + 2)];
  for (let j = 0; j < 8; j++) {
    const [scale, least] = scaleAndMinimum(bytes, at + 4, j);
    const [step, offset] = [round(d * scale), round(minimum * least)];
    for (let i = 0; i < 32; i++) {
      const nibble = (bytes[low + (j >> 1) * 32 + i]! >> (4 * (j & 1))) & 15;
      const top = high === null ? 0 : ((bytes[high + i]! >> j) & 1) << 4;
      into[to + j * 32 + i] = round(step * (nibble | top)) - offset;
    }
  }
}

const DEQUANTISE: Readonly<Record<string, Dequantise>> = {
  Q8_0: (bytes, at, into, to) => {
    const d = half(bytes, at);
    for (let i = 0; i < 32; i++) into[to + i] = d * ((bytes[at + 2 + i]! << 24) >> 24);
  },
  Q4_0: (bytes, at, into, to) => {
    const d = half(bytes, at);
    nibbles(bytes, at + 2, (i, q) => {
      into[to + i] = d * (q - 8);
    });
  },
  Q4_1: (bytes, at, into, to) => {
    const [d, minimum] = [half(bytes, at), half(bytes, at + 2)];
    nibbles(bytes, at + 4, (i, q) => {
      into[to + i] = round(d * q) + minimum;
    });
  },
  Q5_0: (bytes, at, into, to) => {
    const d = half(bytes, at);
    nibbles(bytes, at + 6, (i, q) => {
      into[to + i] = d * ((q | fifthBit(bytes, at + 2, i)) - 16);
    });
  },
  Q5_1: (bytes, at, into, to) => {
    const [d, minimum] = [half(bytes, at), half(bytes, at + 2)];
    nibbles(bytes, at + 8, (i, q) => {
      into[to + i] = round(d * (q | fifthBit(bytes, at + 4, i))) + minimum;
    });
  },
  Q4_K: (bytes, at, into, to) => superBlock(bytes, at, at + 16, null, into, to),
  Q5_K: (bytes, at, into, to) => superBlock(bytes, at, at + 48, at + 16, into, to),
  Q6_K: (bytes, at, into, to) => {
    const [high, scales] = [at + 128, at + 192];
    const d = half(bytes, at + 208);
    for (let i = 0; i < 256; i++) {
      // of each half, 64 bytes of lower bits hold 128 integers, 32 bytes of upper bits the same
      const [part, inPart] = [i >> 7, i & 127];
      const low = (bytes[at + part * 64 + (inPart & 63)]! >> (inPart >= 64 ? 4 : 0)) & 15;
      const top = (bytes[high + part * 32 + (inPart & 31)]! >> (2 * (inPart >> 5))) & 3;
      const step = round(d * ((bytes[scales + (i >> 4)]! << 24) >> 24));
      into[to + i] = step * ((low | (top << 4)) - 32);
    }
  },
};
