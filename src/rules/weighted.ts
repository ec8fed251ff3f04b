import { maximum, mul, type Tensor1D, zerosLike } from '@tensorflow/tfjs-core';
import { LOG_PROB_FLOOR } from '../method/blend.js';

/**
 * weight log P as blends have it: 0 with a weight of 0, whatever log P is; -Infinity stays so above 0, and counts as -1e4
 * below, where it would be Infinity.
 */
export function weighted(logP: Tensor1D, weight: number): Tensor1D {
  if (weight === 0) return zerosLike(logP);
  return mul(weight < 0 ? maximum(logP, LOG_PROB_FLOOR) : logP, weight);
}
