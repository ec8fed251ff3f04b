import { SdaError } from '../errors.js';
import type { ModelConfig } from './config.js';
import type { Family } from './family.js';

/**
 * How many dimensions of a head are rotated, its first ones.
 *
 * @param factor `partial_rotary_factor`
 * @param headDim undefined where it is not known; then so is the result
 * @throws SdaError `unsupported` where the family rotates all; `bad-config` where it is no even number of dimensions
 */
export function rotaryDimOf(
  file: string,
  factor: number,
  headDim: number | undefined,
  family: Family,
): number | undefined {
  if (factor === 1) return headDim;
  if (!family.partialRotation) {
    throw new SdaError(
      'unsupported',
      `${file} has partial_rotary_factor ${factor} where only 1 (every dimension of a head rotated) is supported for its model_type.`,
    );
  }
  if (headDim === undefined) return undefined;
  const rotated = Math.trunc(headDim * factor);
  if (rotated >= 2 && rotated <= headDim && rotated % 2 === 0) return rotated;
  throw new SdaError(
    'bad-config',
    `${file} has partial_rotary_factor ${factor}, which rotates ${rotated} of the ${headDim} dimensions of a head, where an even number from 2 to ${headDim} is needed; correct it.`,
  );
}

/** Puts the rows of a stack, whose bytes they are, into the order that the decoder layer needs. */
export type Reorder = (bytes: Uint8Array, rows: number) => void;

/** What the stack of q, k and v needs; undefined where rows keep the checkpoint's order. */
export function rowOrderOf(config: ModelConfig): Reorder | undefined {
  if (config.rotaryDim === config.headDim) return undefined;
  const heads = config.numHeads + config.numKeyValueHeads;
  return (bytes, rows) => spreadRotatedRows(bytes, rows, heads, config);
}

/**
 * Reorders the rows of each head of q and k in place, so that the two rows that RoPE rotates together lie half a head
 * apart, as they do where every dimension is rotated; those that are not rotated become such pairs, too. Products of
 * queries and keys do not depend on the order.
 *
 * @param bytes q's rows, then k's, then any others: [rows, n] in any stored form that keeps rows apart
 * @param heads of q and k together
 */
export function spreadRotatedRows(
  bytes: Uint8Array,
  rows: number,
  heads: number,
  { headDim, rotaryDim }: { readonly headDim: number; readonly rotaryDim: number },
): void {
  const width = bytes.length / rows;
  const [half, turned] = [headDim / 2, rotaryDim / 2];
  for (let head = 0; head < heads; head++) {
    const begin = head * headDim * width;
    const into = bytes.subarray(begin, begin + headDim * width);
    const from = into.slice();
    for (let row = 0; row < headDim; row++) {
      const [side, pair] = [Math.floor(row / half), row % half];
      const source =
        pair < turned ? side * turned + pair : rotaryDim + side * (half - turned) + pair - turned;
      into.set(from.subarray(source * width, (source + 1) * width), row * width);
    }
  }
}
