import { tensor1d, tensor2d, tidy } from '@tensorflow/tfjs-core';
import { describe, expect, test } from 'vitest';
import { embed } from '../../kernels/embed/index.js';
import { embedReference } from '../../kernels/embed/reference.js';
import { castTo, tensorFromBytes } from '../../src/runtime/device-tensors.js';
import { WITHOUT_NATIVE } from '../support/native.js';
import { Random } from '../support/random.js';
import { errorOf, expectNoLeak, useTensorFlow, valuesOf } from '../support/tensorflow.js';

useTensorFlow();

const [V, K] = [9, 37];

describe.each(['float32', 'bfloat16', 'float16'] as const)('of a %s table', (dtype) => {
  test('are its lines: of ids, and of tokens that were drawn', async () => {
    await expectNoLeak(() => {
      tidy(() => {
        const table = new Random(3).matrix(V, K, 1, dtype);
        const lines = [...castTo(table, 'float32').dataSync()];
        const line = (id: number) => lines.slice(id * K, (id + 1) * K);
        const drawn = tensor2d([
          [8, 0.5],
          [2, -1],
        ]);
        const found = embed({ table, ids: Int32Array.of(4, ~1, 0, ~0, ~1), drawn });
        expect(found.shape).toEqual([5, K]);
        expect(valuesOf(found)).toEqual([4, 2, 0, 8, 2].flatMap(line)); // widening is exact
        expect(valuesOf(embed({ table, ids: Int32Array.of(7) }))).toEqual(line(7));
      });
    });
  });

  test('is its reference', ({ skip }) => {
    skip(...WITHOUT_NATIVE);
    tidy(() => {
      const table = new Random(5).matrix(V, K, 1, dtype);
      const drawn = tensor2d([[3], [6]]);
      const ids = Int32Array.of(~1, 5, ~0);
      const [expected] = embedReference({ table, ids: tensor1d(ids, 'int32'), drawn });
      expect(valuesOf(embed({ table, ids, drawn }))).toEqual(valuesOf(expected!));
    });
  });
});

test('numbers of a float16 are those of the format: subnormal, largest, infinite', () => {
  tidy(() => {
    const bits = Uint16Array.of(0x0001, 0x03ff, 0x0400, 0x7bff, 0xfc00, 0x8000);
    const bytes = new Uint8Array(bits.buffer);
    const table = tensorFromBytes(bytes, [1, 6], 'float16') as ReturnType<typeof tensor2d>;
    const expected = [2 ** -24, 1023 * 2 ** -24, 2 ** -14, 65504, Number.NEGATIVE_INFINITY, -0];
    expect(valuesOf(embed({ table, ids: Int32Array.of(0) }))).toEqual(expected);
  });
});

test.each<[string, number[], number[][] | undefined]>([
  ['an id beyond the table', [0, V], undefined],
  ['a line where nothing was drawn', [~0], undefined],
  ['a line beyond what was drawn', [~2], [[1], [2]]],
])('refuses %s', async (_, ids, drawn) => {
  await expectNoLeak(async () => {
    const error = await errorOf(() =>
      tidy(() => {
        const table = new Random(1).matrix(V, K);
        embed({ table, ids: Int32Array.from(ids), drawn: drawn && tensor2d(drawn) });
      }),
    );
    expect(error.message).toContain('embed: ');
  });
});

test('a drawn token outside the table is taken as 0', () => {
  tidy(() => {
    const table = new Random(1).matrix(V, K);
    const first = [...table.dataSync()].slice(0, K);
    const drawn = tensor2d([[V], [-1], [Number.NaN]]);
    const found = embed({ table, ids: Int32Array.of(~0, ~1, ~2), drawn });
    expect(valuesOf(found)).toEqual([...first, ...first, ...first]);
  });
});
