import { mul, sigmoid, split, type Tensor, tidy } from '@tensorflow/tfjs-core';
import { linearReference } from '../linear/reference.js';
import type { SwigluAttrs, SwigluInputs } from './index.js';

/** `swiglu` composed of TensorFlow operations. */
export function swigluReference(inputs: SwigluInputs, attrs: SwigluAttrs): Tensor[] {
  return tidy(() => {
    const { x, gateUp, bias, norm } = inputs;
    const [both] = linearReference({ x, weight: gateUp, bias, norm, residual: undefined }, attrs);
    const [gate, up] = split(both!, 2, 1);
    return [mul(mul(gate!, sigmoid(gate!)), up!)];
  });
}
