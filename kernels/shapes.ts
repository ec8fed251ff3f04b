import type { Tensor } from '@tensorflow/tfjs-core';
import { SdaError } from '../src/errors.js';
import { MOST_STREAMS } from './step/contract.js';

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

/**
 * S, where logits hold S lines a query, [S B, V]; 1 where there is no query.
 *
 * @throws SdaError `bad-tensor` where they hold another number of lines than 1 to 8 a query.
 */
export function streamsOf(kernel: string, logits: Tensor, queries: number): number {
  const [lines] = logits.shape;
  const streams = queries > 0 ? lines! / queries : 1;
  if (Number.isInteger(streams) && streams >= 1 && streams <= MOST_STREAMS) return streams;
  throw new SdaError(
    'bad-tensor',
    `${kernel}: logits must have 1 to ${MOST_STREAMS} lines for each of ${queries} queries, but have the shape [${logits.shape.join(', ')}].`,
  );
}
