/**
 * Arguments of a test's `skip`: what compares the native kernels with their references is not run where
 * `SDA_KERNELS=reference` leaves the native ones out, since it would compare the references with themselves.
 */
export const WITHOUT_NATIVE: readonly [condition: boolean, reason: string] = [
  process.env.SDA_KERNELS === 'reference',
  'SDA_KERNELS=reference leaves the native kernels out',
];
