import type { Tensor, Tensor1D, Tensor2D } from '@tensorflow/tfjs-core';
import { attr, executeOp } from '../../src/runtime/backend.js';
import { defineKernel } from '../define.js';
import type { InputNorm } from '../linear/index.js';
import { checkShape } from '../shapes.js';
import { mlpReference } from './reference.js';

export interface MlpArgs {
  /** float32 [M, K] */
  readonly x: Tensor2D;
  readonly norm: InputNorm;
  /** float32, bfloat16 or float16 [2 I, K]: the I rows of gate_proj, then the I rows of up_proj */
  readonly gateUp: Tensor2D;
  /** float32, bfloat16 or float16 [K, I]: down_proj */
  readonly down: Tensor2D;
  /** float32 [2 I] and [K]; both or neither */
  readonly gateUpBias?: Tensor1D | undefined;
  readonly downBias?: Tensor1D | undefined;
}

export type MlpInputs = {
  x: Tensor2D;
  norm: Tensor1D;
  gateUp: Tensor2D;
  gateUpBias: Tensor1D | undefined;
  down: Tensor2D;
  downBias: Tensor1D | undefined;
};
export type MlpAttrs = { epsilon: number };

const run = defineKernel<MlpInputs, MlpAttrs>({
  name: 'SdaMlp',
  native: ({ x, norm, gateUp, gateUpBias, down, downBias }, { epsilon }) =>
    executeOp(
      'SdaMlp',
      [attr.bool('has_bias', gateUpBias !== undefined), attr.float('epsilon', epsilon)],
      [x, norm, gateUp, gateUpBias ?? x, down, downBias ?? x],
    ),
  reference: mlpReference,
});

/**
 * The gated MLP half of a decoder block with its residual: `x + (silu(h gate^T) * (h up^T)) down^T`, where
 * `h = norm(x)` and `silu(z) = z / (1 + e^-z)`.
 *
 * @returns float32 [M, K]; the caller disposes it.
 * @throws SdaError `bad-tensor` when shapes disagree.
 */
export function mlp({ x, norm, gateUp, down, gateUpBias, downBias }: MlpArgs): Tensor2D {
  checkShape('mlp', 'x', x, [null, null]);
  const hidden = x.shape[1];
  checkShape('mlp', 'norm', norm.weight, [hidden]);
  checkShape('mlp', 'down', down, [hidden, null]);
  const intermediate = down.shape[1];
  checkShape('mlp', 'gateUp', gateUp, [2 * intermediate, hidden]);
  if (gateUpBias) checkShape('mlp', 'gateUpBias', gateUpBias, [2 * intermediate]);
  if (gateUpBias || downBias) checkShape('mlp', 'downBias', downBias ?? x, [hidden]);
  const inputs = { x, norm: norm.weight, gateUp, gateUpBias, down, downBias };
  const [y] = run(inputs, { epsilon: norm.epsilon });
  return y as Tensor as Tensor2D;
}
