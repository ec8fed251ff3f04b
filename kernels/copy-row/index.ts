import type { Tensor, Tensor1D } from '@tensorflow/tfjs-core';
import { SdaError } from '../../src/errors.js';
import { attr, type DeviceDtype, executeOp } from '../../src/runtime/backend.js';
import { withInt32 } from '../../src/runtime/device-tensors.js';
import { defineKernel } from '../define.js';
import { copyRowReference } from './reference.js';

/** Variables of one shape and type: the keys or values of a cache, a layer each. */
export interface RowVariables {
  /** Handles, one at least */
  readonly variables: readonly Tensor[];
  /** [rows, heads, capacity, headDim] of each */
  readonly shape: readonly [rows: number, heads: number, capacity: number, headDim: number];
  readonly dtype: DeviceDtype;
}

/** What is copied: the first `length` positions of row `from`, over those of row `to`. */
export interface RowPlaces {
  readonly from: number;
  readonly to: number;
  readonly length: number;
}

export type CopyRowInputs = { places: Tensor1D };

const NAME = 'SdaCopyRow';

const run = defineKernel<CopyRowInputs, RowVariables>({
  name: NAME,
  native: ({ places }, { variables }) =>
    executeOp(NAME, [attr.int('N', variables.length)], [...variables, places], 0),
  reference: copyRowReference,
});

/**
 * Copies the beginning of a row to another row, in all variables, whatever their type: bytes are copied, and nothing else
 * is written. A tensor that was read from a variable before keeps its values.
 *
 * @throws SdaError `bad-tensor` for a row or a length that is not there
 */
export function copyRow(of: RowVariables, { from, to, length }: RowPlaces): void {
  const [rows, , capacity] = of.shape;
  checkPlace('from', from, rows - 1);
  checkPlace('to', to, rows - 1);
  checkPlace('length', length, capacity);
  withInt32([from, to, length], (places) => run({ places: places as Tensor1D }, of));
}

function checkPlace(name: string, value: number, most: number): void {
  if (Number.isInteger(value) && value >= 0 && value <= most) return;
  throw new SdaError(
    'bad-tensor',
    `copyRow: ${name} must be a whole number in 0..${most}, but is ${value}.`,
  );
}
