import { GROUP } from '../../src/runtime/quantised.js';

/** Every form of the kernels; this processor may have some of them alone. */
export const KERNEL_FORMS = ['avx512-vnni', 'avx-vnni', 'avx512', 'avx2', 'portable'] as const;

/** x as the kernels take it: whole numbers of 16 bits by groups. */
export function rounded(x: Float32Array, K: number): Float64Array {
  const out = new Float64Array(x.length);
  for (let row = 0; row < x.length; row += K) {
    for (let k = 0; k < K; k += GROUP) {
      const group = x.subarray(row + k, row + Math.min(k + GROUP, K));
      const largest = group.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
      const factor = Math.fround(32512 / largest);
      const scale = Math.fround(largest / 32512);
      group.forEach((value, i) => {
        const q = value * factor; // exact
        const below = Math.floor(q);
        const half = q - below === 0.5;
        out[row + k + i] = scale * (half ? below + (Math.abs(below) % 2) : Math.round(q));
      });
    }
  }
  return out;
}

/** x w^T in float64. */
export function product(
  x: Float64Array,
  w: Float32Array | Float64Array,
  [M, K, N]: readonly [number, number, number],
) {
  const out = new Float64Array(M * N);
  for (let m = 0; m < M; m++) {
    for (let n = 0; n < N; n++) {
      let sum = 0;
      for (let k = 0; k < K; k++) sum += x[m * K + k]! * w[n * K + k]!;
      out[m * N + n] = sum;
    }
  }
  return out;
}
