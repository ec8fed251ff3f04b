import { slice, type Tensor2D, tensor2d, tidy } from '@tensorflow/tfjs-core';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { embed } from '../../kernels/embed/index.js';
import { linear } from '../../kernels/linear/index.js';
import { quantise } from '../../kernels/quantise/index.js';
import { hasNativeKernel, quantisedForms } from '../../src/runtime/native.js';
import { dequantise, quantisedBytesOf, widenWeights } from '../../src/runtime/quantised.js';
import { relativeError } from '../support/close.js';
import { KERNEL_FORMS, product, rounded } from '../support/quantised.js';
import { Random } from '../support/random.js';
import { expectNoLeak, useTensorFlow, valuesOf } from '../support/tensorflow.js';

useTensorFlow();

const BITS = [8, 4] as const;
/** [M, K, N] */
const SHAPES = [
  [1, 1, 1],
  [2, 576, 192],
  [2, 7, 5],
  [3, 31, 64],
  [4, 2049, 33],
  [5, 100, 17],
  [8, 129, 40],
  [13, 65, 129],
  [40, 96, 70],
] as const;

afterEach(() => {
  delete process.env.SDA_ISA;
});

describe.for(KERNEL_FORMS)('by %s', (form) => {
  beforeEach(({ skip }) => {
    skip(!hasNativeKernel('SdaLinear'), 'the native kernels are left out');
    skip(!quantisedForms().includes(form), `this processor has no ${form}`);
    process.env.SDA_ISA = form;
  });

  test.for(BITS.flatMap((bits) => SHAPES.map((shape) => [bits, ...shape] as const)))(
    'weights in %i bits: [%i, %i] to %i columns is float64',
    async ([bits, M, K, N]) => {
      await expectNoLeak(() => {
        const random = new Random(M * 1_000_003 + K * 1009 + N);
        tidy(() => {
          const x = random.normals(M * K);
          const weight = quantise({ weight: random.matrix(N, K, 1 / Math.sqrt(K)), bits });
          const w = dequantise(quantisedBytesOf(weight));
          const found = valuesOf(linear({ x: tensor2d(x, [M, K]), weight }));
          const sizes = product(rounded(x, K).map(Math.abs), w.map(Math.abs), [M, K, N]);
          const expected = product(rounded(x, K), w, [M, K, N]);
          // float32 adds a group at a time: half a unit in the last place of the sum of sizes for each, at most
          found.forEach((value, i) => {
            expect(Math.abs(value - expected[i]!)).toBeLessThan(1e-5 * sizes[i]! + 1e-30);
          });
          expect(relativeError(found, expected)).toBeLessThan(1e-5);
        });
      });
    },
  );

  test.for(BITS)('weights in %i bits: bias, norm and residual are added', (bits) => {
    tidy(() => {
      const random = new Random(5);
      const [M, K, N] = [3, 70, 37];
      const x = random.matrix(M, K);
      const weight = quantise({ weight: random.matrix(N, K, 0.1), bits });
      const given = {
        bias: random.vector(N),
        norm: { weight: random.vector(K), epsilon: 1e-5 },
        residual: random.matrix(M, N),
      };
      const found = valuesOf(linear({ x, weight, ...given }));
      const wide = widenWeights(weight) as Tensor2D;
      const expected = valuesOf(linear({ x, weight: wide, ...given }));
      expect(relativeError(found, expected)).toBeLessThan(1e-4); // x has 16 bits
    });
  });

  test.for(BITS)('weights in %i bits: a row is the same whatever is beside it', (bits) => {
    tidy(() => {
      const random = new Random(11);
      const [most, K, N] = [41, 1100, 37];
      const x = random.matrix(most, K);
      const weight = quantise({ weight: random.matrix(N, K, 0.2), bits });
      const rows = (from: number, count: number) =>
        valuesOf(linear({ x: slice(x, [from, 0], [count, K]), weight }));
      const alone = Array.from({ length: most }, (_, row) => rows(row, 1));
      for (const count of [2, 3, 4, 5, 7, 8, 11, 12, 13, 41]) {
        for (const from of [0, most - count]) {
          expect(rows(from, count)).toEqual(alone.slice(from, from + count).flat());
        }
      }
    });
  });

  test.for(BITS)('weights in %i bits: numbers at the ends of every range', (bits) => {
    tidy(() => {
      const K = 64;
      const signs = (seed: number) => new Random(seed).normals(K).map(Math.sign);
      const weight = quantise({ weight: tensor2d(signs(1), [1, K]), bits });
      const w = dequantise(quantisedBytesOf(weight));
      for (const size of [1, 1e30, 1e37, 1e-29, 1e-37, 0]) {
        const x = signs(2).map((sign) => sign * size);
        const [found] = valuesOf(linear({ x: tensor2d(x, [1, K]), weight }));
        const expected = size < 1e-30 ? 0 : w.reduce((sum, value, k) => sum + value * x[k]!, 0);
        expect(Math.abs(found! - expected)).toBeLessThanOrEqual(
          1e-5 * Math.abs(expected) + 1e-4 * size,
        );
      }
      for (const odd of [Number.NaN, Number.POSITIVE_INFINITY]) {
        const x = signs(2);
        x[40] = odd;
        expect(valuesOf(linear({ x: tensor2d(x, [1, K]), weight }))).toEqual([Number.NaN]);
      }
    });
  });
});

test.for(BITS)('all forms agree to rounding, with weights in %i bits', (bits, { skip }) => {
  skip(!hasNativeKernel('SdaLinear'), 'the native kernels are left out');
  tidy(() => {
    const random = new Random(17);
    const x = random.matrix(3, 200);
    const weight = quantise({ weight: random.matrix(50, 200, 0.1), bits });
    const results = quantisedForms().map((form) => {
      process.env.SDA_ISA = form;
      return valuesOf(linear({ x, weight }));
    });
    for (const result of results) expect(relativeError(result, results[0]!)).toBeLessThan(1e-6);
  });
});

test.for(BITS)('the lines of a table in %i bits are its weights', (bits) => {
  tidy(() => {
    const table = quantise({ weight: new Random(3).matrix(37, 45), bits });
    const lines = [...dequantise(quantisedBytesOf(table))];
    const ids = Int32Array.of(36, 0, 17);
    expect(valuesOf(embed({ table, ids }))).toEqual(
      [...ids].flatMap((id) => lines.slice(id * 45, (id + 1) * 45)),
    );
  });
});
