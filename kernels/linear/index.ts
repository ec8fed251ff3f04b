import type { Tensor, Tensor1D, Tensor2D } from '@tensorflow/tfjs-core';
import { attr, executeOp } from '../../src/runtime/backend.js';
import { toldShapes } from '../../src/runtime/quantised.js';
import { defineKernel } from '../define.js';
import { checkShape } from '../shapes.js';
import { linearReference } from './reference.js';

/** RMSNorm applied to the input first: `x / sqrt(mean(x^2) + epsilon) * weight`. */
export interface InputNorm {
  /** float32 [K] */
  readonly weight: Tensor1D;
  readonly epsilon: number;
}

export interface LinearArgs {
  /** float32 [M, K] */
  readonly x: Tensor2D;
  /**
   * float32, bfloat16 or float16 [N, K], as checkpoints store it, or quantised (`quantise`): row n makes output column n.
   */
  readonly weight: Tensor2D;
  /** float32 [N] */
  readonly bias?: Tensor1D | undefined;
  readonly norm?: InputNorm | undefined;
  /** float32 [M, N], added to the result. */
  readonly residual?: Tensor2D | undefined;
}

export type LinearInputs = {
  x: Tensor2D;
  weight: Tensor2D;
  bias: Tensor1D | undefined;
  norm: Tensor1D | undefined;
  residual: Tensor2D | undefined;
};
export type LinearAttrs = { epsilon: number };

const run = defineKernel<LinearInputs, LinearAttrs>({
  name: 'SdaLinear',
  native: ({ x, weight, bias, norm, residual }, { epsilon }) =>
    executeOp(
      'SdaLinear',
      [
        attr.bool('has_bias', bias !== undefined),
        attr.bool('has_norm', norm !== undefined),
        attr.bool('has_residual', residual !== undefined),
        attr.float('epsilon', epsilon),
        ...toldShapes(weight),
      ],
      [x, weight, bias ?? x, norm ?? x, residual ?? x],
    ),
  reference: linearReference,
});

/**
 * A linear layer with what surrounds it in a transformer block: `norm(x) weight^T + bias + residual`.
 * Products and sums are float32 whatever the weight's type; on the CPU quantised weights meet x rounded to 16 bits, with one
 * scale for each 32 values of a row.
 *
 * @returns float32 [M, N]; the caller disposes it.
 * @throws SdaError `bad-tensor` when shapes disagree.
 */
export function linear({ x, weight, bias, norm, residual }: LinearArgs): Tensor2D {
  checkShape('linear', 'x', x, [null, null]);
  const [rows, inputSize] = x.shape;
  checkShape('linear', 'weight', weight, [null, inputSize]);
  const outputSize = weight.shape[0];
  if (bias) checkShape('linear', 'bias', bias, [outputSize]);
  if (norm) checkShape('linear', 'norm', norm.weight, [inputSize]);
  if (residual) checkShape('linear', 'residual', residual, [rows, outputSize]);
  const inputs = { x, weight, bias, norm: norm?.weight, residual };
  const [y] = run(inputs, { epsilon: norm?.epsilon ?? 0 });
  return y as Tensor as Tensor2D;
}
