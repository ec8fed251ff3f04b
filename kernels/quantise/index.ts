import type { Tensor, Tensor2D } from '@tensorflow/tfjs-core';
import { attr, executeOp } from '../../src/runtime/backend.js';
import { type QuantisedBits, withMatrixShape } from '../../src/runtime/quantised.js';
import { defineKernel } from '../define.js';
import { checkShape } from '../shapes.js';
import { quantiseReference } from './reference.js';

export interface QuantiseArgs {
  /** float32, bfloat16 or float16 [N, K]; finite */
  readonly weight: Tensor2D;
  readonly bits: QuantisedBits;
  /** Matrices of N / parts rows, one below the other, that are met row by row together (gate and up); default 1 */
  readonly parts?: number;
}

export type QuantiseInputs = { weight: Tensor2D };
export type QuantiseAttrs = { bits: QuantisedBits; parts: number };

const NAME = 'SdaQuantise';

const run = defineKernel<QuantiseInputs, QuantiseAttrs>({
  name: NAME,
  native: ({ weight }, { bits, parts }) =>
    executeOp(NAME, [attr.int('bits', bits), attr.int('parts', parts)], [weight]),
  reference: quantiseReference,
});

/**
 * A matrix of weights in 8 or 4 bits, with a scale for each 32 neighbours in a row.
 *
 * @returns a quantised matrix [N, K] (see `quantisedTensor`); the caller disposes it.
 * @throws SdaError `bad-tensor` when the shape is none of a matrix. Weights that are not finite, and rows that are not
 *   `parts` equal parts, are errors of the operation.
 */
export function quantise({ weight, bits, parts = 1 }: QuantiseArgs): Tensor2D {
  checkShape('quantise', 'weight', weight, [null, null]);
  const [rows, columns] = weight.shape;
  const [words] = run({ weight }, { bits, parts });
  return withMatrixShape(words as Tensor, { bits, rows, columns, parts });
}
