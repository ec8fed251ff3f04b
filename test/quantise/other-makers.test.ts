import { tensor2d, tidy } from '@tensorflow/tfjs-core';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { embed } from '../../kernels/embed/index.js';
import { linear } from '../../kernels/linear/index.js';
import { linearReference } from '../../kernels/linear/reference.js';
import { narrow } from '../../src/checkpoint/narrow.js';
import { blocksOf } from '../../src/model/hub/blocks.js';
import { type Integers, neighbours, weightsOf } from '../../src/model/hub/integers.js';
import { hasNativeKernel, quantisedForms } from '../../src/runtime/native.js';
import {
  dequantise,
  type QuantisedShape,
  quantisedTensor,
  readHeader,
} from '../../src/runtime/quantised.js';
import { relativeError } from '../support/close.js';
import { KERNEL_FORMS, product, rounded } from '../support/quantised.js';
import { Random } from '../support/random.js';
import { errorOf, expectNoLeak, useTensorFlow, valuesOf } from '../support/tensorflow.js';

useTensorFlow();

/** [M, K, N, parts] */
const SHAPES = [
  [1, 1, 1, 1],
  [2, 576, 192, 2],
  [3, 31, 64, 1],
  [4, 1025, 33, 3],
  [5, 100, 18, 2],
  [13, 65, 129, 1],
] as const;

const SCALES = { bfloat16: 'BF16', float16: 'F16', float32: 'F32' } as const;
const FORMS = ([8, 4] as const).flatMap((bits) =>
  (['bfloat16', 'float16', 'float32'] as const).flatMap((scales) =>
    (['whole', 'none'] as const).flatMap((zeros) =>
      [false, true].map((ordered) => ({ bits, scales, zeros, ordered })),
    ),
  ),
);
type Form = (typeof FORMS)[number];

/** Numbers and zero points of the whole range, scales of both signs, some subnormal in float16; groups of 64 places. */
function drawn({ bits, scales: scaleDtype, zeros, ordered }: Form, rows: number, columns: number) {
  const random = new Random(rows * 1009 + columns + bits);
  const whole = (count: number, end: number) =>
    random.normals(count).map((value) => Math.abs(Math.trunc(value * 1e6)) % end);
  const groups = Math.ceil(columns / 64);
  const keys = random.normals(columns);
  const order = Int32Array.from(keys.keys()).sort((a, b) => keys[a]! - keys[b]!);
  const numbers = whole(rows * columns, 2 ** bits);
  const size = random.normals(rows * groups, 0.01).map((s, i) => (i % 7 === 3 ? s * 1e-4 : s));
  const stored = narrow(size, SCALES[scaleDtype]);
  const words = new Uint32Array(rows * Math.ceil((columns * bits) / 32));
  const width = words.length / rows;
  numbers.forEach((q, i) => {
    const [n, k] = [Math.floor(i / columns), i % columns];
    const inWord = 32 / bits;
    words[n * width + Math.floor(k / inWord)]! |= q << ((k % inWord) * bits);
  });
  const integers: Integers = {
    rows,
    bits,
    words,
    wordAt: { ofRow: width, ofItem: 1 },
    columns: { ...neighbours(columns, 64), order: ordered ? order : null },
    scales:
      scaleDtype === 'float32' ? new Float32Array(stored.buffer) : new Uint16Array(stored.buffer),
    scaleDtype,
    zeros: zeros === 'whole' ? Uint8Array.from(whole(rows * groups, 2 ** bits)) : null,
    scaleAt: { ofRow: groups, ofItem: 1 },
  };
  return integers;
}

function matrixOf(form: Form, rows: number, columns: number, parts: number) {
  const { bits, scales, zeros, ordered } = form;
  const integers = drawn(form, rows, columns);
  const shape: QuantisedShape = { bits, rows, columns, parts, form: { scales, zeros, ordered } };
  const bytes = blocksOf([integers], shape, undefined);
  expect(readHeader(bytes)).toEqual(shape);
  return { bytes, weights: weightsOf(integers) };
}

afterEach(() => {
  delete process.env.SDA_ISA;
});

const named = FORMS.map((form) => ({
  ...form,
  order: form.ordered ? 'in an order of their own' : 'in order',
}));

describe.for(KERNEL_FORMS)('by %s', (kernel) => {
  beforeEach(({ skip }) => {
    skip(!hasNativeKernel('SdaLinear'), 'the native kernels are left out');
    skip(!quantisedForms().includes(kernel), `this processor has no ${kernel}`);
    process.env.SDA_ISA = kernel;
  });

  test.for(named)('$bits bits, $scales, $zeros zeros, columns $order', async (form) => {
    // several parts are met by a decoder layer alone
    for (const [M, K, N] of SHAPES) {
      await expectNoLeak(() =>
        tidy(() => {
          const { bytes, weights } = matrixOf(form, N, K, 1);
          const x = new Random(M + K).normals(M * K);
          const weight = quantisedTensor(bytes);
          const found = valuesOf(linear({ x: tensor2d(x, [M, K]), weight }));
          const meant = roundedAt(x, M, K, drawn(form, N, K).columns.order);
          const expected = product(meant, weights, [M, K, N]);
          const sizes = product(meant.map(Math.abs), weights.map(Math.abs), [M, K, N]);
          const worst = found.map(
            (value, i) => Math.abs(value - expected[i]!) / (sizes[i]! + 1e-30),
          );
          expect(Math.max(...worst)).toBeLessThan(1e-5);
        }),
      );
    }
  });
});

/** x as the kernels take it, whose groups are of places. */
function roundedAt(x: Float32Array, M: number, K: number, order: Int32Array | null): Float64Array {
  if (!order) return rounded(x, K);
  const placed = x.map((_, i) => x[Math.floor(i / K) * K + order[i % K]!]!);
  const made = rounded(placed, K);
  const back = new Float64Array(M * K);
  made.forEach((value, i) => {
    back[Math.floor(i / K) * K + order[i % K]!] = value;
  });
  return back;
}

describe('what they are', () => {
  test.for(named)('$bits bits, $scales, $zeros zeros, columns $order', (form) => {
    for (const [M, K, N, parts] of SHAPES) {
      tidy(() => {
        const { bytes, weights } = matrixOf(form, N, K, parts);
        expect(dequantise(bytes)).toEqual(weights);
        if (parts > 1) return; // met by a decoder layer alone
        const weight = quantisedTensor(bytes);
        const ids = Int32Array.from({ length: N }, (_, n) => n);
        expect(valuesOf(embed({ table: weight, ids }))).toEqual([...weights]);
        const x = new Random(M).normals(M * K);
        const attributes = { epsilon: 0 };
        const none = { bias: undefined, norm: undefined, residual: undefined };
        const [y] = linearReference({ x: tensor2d(x, [M, K]), weight, ...none }, attributes);
        const expected = product(Float64Array.from(x), weights, [M, K, N]);
        expect(relativeError(valuesOf(y!), expected)).toBeLessThan(1e-4);
      });
    }
  });

  test('columns that there are not are no matrix', async ({ skip }) => {
    skip(!hasNativeKernel('SdaLinear'), 'the native kernels are left out');
    const form = { bits: 4, scales: 'float16', zeros: 'none', ordered: true } as const;
    for (const column of [-1, 64]) {
      const { bytes } = matrixOf(form, 16, 64, 1);
      new Int32Array(bytes.buffer, bytes.byteLength - 4 * 64, 64)[5] = column;
      const error = await errorOf(() =>
        tidy(() =>
          linear({ x: tensor2d(new Float32Array(64), [1, 64]), weight: quantisedTensor(bytes) }),
        ),
      );
      expect(error.message).toContain('weight is no quantised matrix');
    }
  });
});
