import { clone, type Tensor } from '@tensorflow/tfjs-core';

/** The tensor itself is the ticket, and its values are read by tfjs. */
export function readBackReference({ x }: { readonly x: Tensor }): Tensor[] {
  return [clone(x)];
}
