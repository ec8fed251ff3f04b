import type { Tensor, Tensor1D, Tensor2D } from '@tensorflow/tfjs-core';
import { attr, executeOp } from '../../src/runtime/backend.js';
import { defineKernel } from '../define.js';
import type { InputNorm } from '../linear/index.js';
import { checkShape } from '../shapes.js';
import { swigluReference } from './reference.js';

export interface SwigluArgs {
  /** float32 [M, K] */
  readonly x: Tensor2D;
  readonly norm: InputNorm;
  /** float32, bfloat16 or float16 [2 I, K]: the I rows of gate_proj, then the I rows of up_proj. */
  readonly gateUp: Tensor2D;
  /** float32 [2 I] */
  readonly bias?: Tensor1D | undefined;
}

export type SwigluInputs = {
  x: Tensor2D;
  gateUp: Tensor2D;
  bias: Tensor1D | undefined;
  norm: Tensor1D;
};
export type SwigluAttrs = { epsilon: number };

const run = defineKernel<SwigluInputs, SwigluAttrs>({
  name: 'SdaSwiglu',
  native: ({ x, gateUp, bias, norm }, { epsilon }) =>
    executeOp(
      'SdaSwiglu',
      [attr.bool('has_bias', bias !== undefined), attr.float('epsilon', epsilon)],
      [x, gateUp, bias ?? x, norm],
    ),
  reference: swigluReference,
});

/**
 * The first half of a gated MLP: `silu(h gate^T) * (h up^T)` with `h = norm(x)`, `silu(z) = z / (1 + e^-z)`.
 *
 * @returns float32 [M, I]; the caller disposes it.
 * @throws SdaError `bad-tensor` when shapes disagree.
 */
export function swiglu({ x, norm, gateUp, bias }: SwigluArgs): Tensor2D {
  checkShape('swiglu', 'x', x, [null, null]);
  checkShape('swiglu', 'gateUp', gateUp, [null, x.shape[1]]);
  checkShape('swiglu', 'gateUp', gateUp, [2 * Math.floor(gateUp.shape[0] / 2), null]);
  if (bias) checkShape('swiglu', 'bias', bias, [gateUp.shape[0]]);
  checkShape('swiglu', 'norm', norm.weight, [x.shape[1]]);
  const [y] = run({ x, gateUp, bias, norm: norm.weight }, { epsilon: norm.epsilon });
  return y as Tensor as Tensor2D;
}
