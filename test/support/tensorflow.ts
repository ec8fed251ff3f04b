import { memory, type Tensor } from '@tensorflow/tfjs-core';
import { beforeAll, expect } from 'vitest';
import { type RuntimeInfo, startTensorFlow } from '../../src/runtime/tensorflow.js';

/** Starts the real TensorFlow before the tests of a file. */
export function useTensorFlow(): void {
  beforeAll(async () => {
    await startTensorFlow();
  });
}

/** What runs: to name it in the title of a comparison. */
export function runtimeInfo(): Promise<RuntimeInfo> {
  return startTensorFlow();
}

/** The values of a float32 or int32 tensor; disposes it. */
export function valuesOf(tensor: Tensor): number[] {
  const values = Array.from(tensor.dataSync() as Float32Array);
  tensor.dispose();
  return values;
}

/** Runs `body` and expects that it leaves as many tensors as it found. */
export async function expectNoLeak<T>(body: () => T | Promise<T>): Promise<T> {
  const before = memory().numTensors;
  const result = await body();
  expect(memory().numTensors).toBe(before);
  return result;
}

/** The error that `body` throws. */
export async function errorOf(body: () => unknown): Promise<Error> {
  try {
    await body();
  } catch (error) {
    if (error instanceof Error) return error;
    throw new Error(`Expected an error, but this was thrown: ${String(error)}`);
  }
  throw new Error('Expected an error, but nothing was thrown.');
}
