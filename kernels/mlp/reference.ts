import { mul, sigmoid, split, type Tensor, type Tensor2D, tidy } from '@tensorflow/tfjs-core';
import { linearReference } from '../linear/reference.js';
import type { MlpAttrs, MlpInputs } from './index.js';

/** `mlp` composed of TensorFlow operations. */
export function mlpReference(inputs: MlpInputs, attrs: MlpAttrs): Tensor[] {
  return tidy(() => {
    const { x, norm, gateUp, gateUpBias, down, downBias } = inputs;
    const first = { x, weight: gateUp, bias: gateUpBias, norm, residual: undefined };
    const [gate, up] = split(linearReference(first, attrs)[0]!, 2, 1);
    const activations = mul(mul(gate!, sigmoid(gate!)), up!) as Tensor2D;
    const second = { x: activations, weight: down, bias: downBias, norm: undefined, residual: x };
    return linearReference(second, attrs);
  });
}
