import {
  add,
  matMul,
  mean,
  mul,
  rsqrt,
  square,
  type Tensor,
  type Tensor1D,
  type Tensor2D,
  tidy,
} from '@tensorflow/tfjs-core';
import { widenWeights } from '../../src/runtime/quantised.js';
import type { LinearAttrs, LinearInputs } from './index.js';

/** `linear` composed of TensorFlow operations; a 16-bit or quantised weight is widened to float32, which is exact. */
export function linearReference(inputs: LinearInputs, { epsilon }: LinearAttrs): Tensor[] {
  return tidy(() => {
    const { x, weight, bias, norm, residual } = inputs;
    const normed = norm ? rmsNormReference(x, norm, epsilon) : x;
    let y: Tensor = matMul(normed, widenWeights(weight) as Tensor2D, false, true);
    if (bias) y = add(y, bias);
    if (residual) y = add(y, residual);
    return [y];
  });
}

/** RMSNorm over the last axis: `x / sqrt(mean(x^2) + epsilon) * weight`. */
export function rmsNormReference<T extends Tensor>(x: T, weight: Tensor1D, epsilon: number): T {
  return tidy(() => mul(mul(x, rsqrt(add(mean(square(x), -1, true), epsilon))), weight) as T);
}
