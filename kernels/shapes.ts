import type { Tensor } from '@tensorflow/tfjs-core';
import { SdaError } from '../src/errors.js';

/**
 * Checks a kernel's input against an expected shape, where `null` stands for any size.
 *
 * @throws SdaError `bad-tensor` naming kernel, input, expected and found.
 */
export function checkShape(
  kernel: string,
  input: string,
  tensor: Tensor,
  expected: readonly (number | null)[],
): void {
  const { shape } = tensor;
  let matches = shape.length === expected.length;
  for (let axis = 0; matches && axis < shape.length; axis++) {
    matches = expected[axis] === null || expected[axis] === shape[axis];
  }
  if (matches) return;
  const wanted = expected.map((size) => size ?? 'any').join(', ');
  throw new SdaError(
    'bad-tensor',
    `${kernel}: ${input} must have the shape [${wanted}], but has [${tensor.shape.join(', ')}].`,
  );
}

/** Checks that logits hold two streams a query, [2 B, V], or one, [B, V]. Throws as `checkShape` does. */
export function checkStreams(kernel: string, logits: Tensor, queries: number): void {
  if (logits.shape[0] !== queries) checkShape(kernel, 'logits', logits, [2 * queries, null]);
  checkShape(kernel, 'logits', logits, [null, null]);
}
