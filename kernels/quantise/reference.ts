import type { Tensor } from '@tensorflow/tfjs-core';
import { SdaError } from '../../src/errors.js';
import { int32Tensor, toFloat32 } from '../../src/runtime/device-tensors.js';
import {
  BLOCK_ROWS,
  bfloat16Of,
  blockLayout,
  GROUP,
  type QuantisedBits,
  quantisedBytes,
  rowAt,
  valueAt,
  writeHeader,
} from '../../src/runtime/quantised.js';
import type { QuantiseAttrs, QuantiseInputs } from './index.js';

/** `quantise` on the host: the same bytes. */
export function quantiseReference(
  { weight }: QuantiseInputs,
  { bits, parts }: QuantiseAttrs,
): Tensor[] {
  const [rows, columns] = weight.shape;
  const wide = toFloat32(weight);
  const values = wide.dataSync() as Float32Array;
  if (wide !== weight) wide.dispose();
  if (rows % parts !== 0) {
    throw new SdaError('bad-tensor', `quantise: ${rows} rows are not ${parts} equal parts.`);
  }
  if (!values.every(Number.isFinite)) {
    throw new SdaError('bad-tensor', 'quantise: weights that are not finite.');
  }
  const shape = { bits, rows, columns, parts };
  const layout = blockLayout(shape);
  const bytes = new Uint8Array(quantisedBytes(shape));
  writeHeader(bytes, shape);
  const view = new DataView(bytes.buffer);
  for (let n = 0; n < rows; n++) {
    const [at, r] = rowAt(shape, n);
    for (let k0 = 0; k0 < columns; k0 += GROUP) {
      const group = new Float32Array(GROUP);
      group.set(values.subarray(n * columns + k0, n * columns + Math.min(k0 + GROUP, columns)));
      const made = quantiseGroup(group, bits);
      const place = (k0 / GROUP) * BLOCK_ROWS + r;
      view.setUint16(at + 2 * place, made.scale, true);
      if (bits === 4) bytes[at + layout.zeros + place] = made.zero;
      made.values.forEach((value, i) => {
        const [to, shift] = valueAt(bits, r, k0 + i);
        bytes[at + layout.values + to]! |= value << shift;
      });
    }
  }
  return [int32Tensor(new Int32Array(bytes.buffer))];
}

interface Group {
  /** bfloat16 */
  readonly scale: number;
  /** In sixteenths */
  readonly zero: number;
  readonly values: readonly number[];
}

function quantiseGroup(w: Float32Array, bits: QuantisedBits): Group {
  return bits === 8 ? group8(w) : group4(w);
}

function group8(w: Float32Array): Group {
  const scale = toBfloat16(Math.fround(Math.max(...w.map(Math.abs)) / 127));
  const step = bfloat16Of(scale);
  const values = [...w].map((value) =>
    step > 0 ? 1 + whole(Math.fround(Math.fround(value / step) + 127), 254) : 128,
  );
  return { scale, zero: 0, values };
}

/** Shares of a group's range that are tried: giving up the outer weights makes the others finer. */
const SHARES = [1, 0.9375, 0.875, 0.8125, 0.75, 0.6875];

function group4(w: Float32Array): Group {
  const low = Math.min(0, ...w);
  const range = Math.fround(Math.max(0, ...w) - low);
  let best: Group = { scale: 0, zero: 0, values: [...w].map(() => 0) };
  let least = Number.POSITIVE_INFINITY;
  for (const share of SHARES) {
    const scale = toBfloat16(Math.fround(Math.fround(range * share) / 15));
    const step = bfloat16Of(scale);
    if (step === 0) break;
    const zero = whole(Math.fround(Math.fround(Math.fround(-low * share) / step) * 16), 240);
    const values = [...w].map((value) =>
      whole(Math.fround(Math.fround(value / step) + zero / 16), 15),
    );
    const sums = new Float64Array(8);
    for (const [i, u] of values.entries()) {
      sums[i % 8]! += Math.fround(step * (u - zero / 16) - w[i]!) ** 2;
    }
    const error = sums.reduce((sum, each) => sum + each, 0);
    if (error < least) [least, best] = [error, { scale, zero, values }];
  }
  return best;
}

/** x + 1/2 cut off to a whole number in 0..high, in float32. */
function whole(x: number, high: number): number {
  return Math.floor(Math.min(Math.max(Math.fround(x + 0.5), 0), high + 0.5));
}

const FLOAT = new Float32Array(1);
const BITS = new Uint32Array(FLOAT.buffer);

/** The nearest bfloat16 of a number that is not negative, ties to even; at most the largest. */
function toBfloat16(x: number): number {
  FLOAT[0] = x;
  const bits = BITS[0]!;
  return Math.min((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16, 0x7f7f);
}
