import { matMul, tensor2d, tidy } from '@tensorflow/tfjs-core';

/**
 * left [rows, rank] times right [rank, columns], row-major, float32, by TensorFlow; `startTensorFlow` must have been
 * called.
 */
export function matrixProduct(
  left: Float32Array,
  right: Float32Array,
  { rows, rank, columns }: { rows: number; rank: number; columns: number },
): Float32Array {
  return tidy(
    () =>
      matMul(
        tensor2d(left, [rows, rank]),
        tensor2d(right, [rank, columns]),
      ).dataSync() as Float32Array,
  );
}
