import { wideScales } from './integers.js';
import type { HubMatrix } from './matrix.js';
import { distinct, type Parts, SCALE_DTYPES } from './parts.js';

export interface Fp8Scales {
  /** Part that has them: a weight is its number times its scale */
  readonly scale: 'weight_scale' | 'weight_scale_inv';
  /** Rows and columns of a block, those that config.json names */
  readonly blocks: readonly (readonly [number, number])[];
}

/**
 * A matrix of FP8: `weight` float8_e4m3fn [N, K], with a scale of the whole matrix [1] or [], of each row [N] or [N, 1],
 * or of each block [N / rows, K / columns] rounded up. The kernels do not take it as it is.
 */
export async function fp8Matrix(parts: Parts, { scale, blocks }: Fp8Scales): Promise<HubMatrix> {
  const { rows, columns } = parts;
  parts.require('weight', ['F8_E4M3'], [rows, columns]);
  parts.claim('input_scale', 'input_zero_point', 'output_scale', 'activation_scale');
  const grids = blocks.map(([r, c]) => [Math.ceil(rows / r), Math.ceil(columns / c)]);
  const whole = scale === 'weight_scale' ? [[rows, 1], [rows], [1], [1, 1], []] : [];
  const stored = parts.require(scale, Object.keys(SCALE_DTYPES), ...distinct([...grids, ...whole]));
  const { shape } = stored;
  const inGrid = grids.findIndex((grid) => grid.join() === shape.join());
  const block = inGrid >= 0 ? blocks[inGrid]! : null;
  const single = shape.every((length) => length === 1);
  const [tall, wide] = block ?? (single ? [rows, columns] : [1, columns]);
  const across = Math.ceil(columns / wide);

  const floats = async () => {
    const numbers = await parts.read('weight');
    const scales = wideScales(await parts.scales(scale), SCALE_DTYPES[stored.dtype]!);
    const weights = new Float32Array(rows * columns);
    for (let n = 0; n < rows; n++) {
      const line = Math.floor(n / tall) * across;
      for (let k = 0; k < columns; k++) {
        const i = n * columns + k;
        weights[i] = VALUES[numbers[i]!]! * scales[line + Math.floor(k / wide)]!;
      }
    }
    return parts.finite(weights, 'weight');
  };
  const how = block
    ? `blocks of ${block[0]} x ${block[1]}`
    : single
      ? 'one scale'
      : 'a scale a row';
  return {
    rows,
    columns,
    dtype: 'fp8',
    how,
    parts: parts.names,
    storedBytes: parts.bytes,
    integers: null,
    floats,
  };
}

/** Of each byte: a sign, four bits of exponent with bias 7, three of fraction; no infinity, and all ones is NaN. */
const VALUES = Float32Array.from({ length: 256 }, (_, byte) => {
  const [exponent, fraction] = [(byte >> 3) & 15, byte & 7];
  if (exponent === 15 && fraction === 7) return Number.NaN;
  const size = exponent === 0 ? fraction * 2 ** -9 : (8 + fraction) * 2 ** (exponent - 10);
  return byte & 128 ? -size : size;
});
