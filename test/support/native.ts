import { afterAll, beforeAll, vi } from 'vitest';
import { loadNativeKernels } from '../../src/runtime/native.js';
import { startTensorFlow } from '../../src/runtime/tensorflow.js';

/**
 * Arguments of a test's `skip`: what compares the native kernels with their references is not run where
 * `SDA_KERNELS=reference` leaves the native ones out, since it would compare the references with themselves.
 */
export const WITHOUT_NATIVE: readonly [condition: boolean, reason: string] = [
  process.env.SDA_KERNELS === 'reference',
  'SDA_KERNELS=reference leaves the native kernels out',
];

/** Has the tests of a block run without the native kernels, on what is made for it alone. */
export function useReferenceKernels(): void {
  beforeAll(async () => {
    const { device } = await startTensorFlow();
    vi.stubEnv('SDA_KERNELS', 'reference');
    loadNativeKernels(device);
  });
  afterAll(async () => {
    vi.unstubAllEnvs();
    loadNativeKernels((await startTensorFlow()).device);
  });
}
