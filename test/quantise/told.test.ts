import { type Tensor2D, tensor2d, tidy } from '@tensorflow/tfjs-core';
import { describe, expect, test } from 'vitest';
import { linear } from '../../kernels/linear/index.js';
import { quantise } from '../../kernels/quantise/index.js';
import { obstacleOn } from '../../src/model/quantised-device.js';
import { attr, executeOp } from '../../src/runtime/backend.js';
import { hasNativeKernel } from '../../src/runtime/native.js';
import {
  headerNumbers,
  type QuantisedShape,
  quantisedBytes,
  quantisedTensor,
  toldShapes,
  writeHeader,
} from '../../src/runtime/quantised.js';
import { Random } from '../support/random.js';
import { errorOf, useTensorFlow, valuesOf } from '../support/tensorflow.js';

useTensorFlow();

const SHAPE = { bits: 4, rows: 18, columns: 50, parts: 1 } as const;

/** `SdaLinear` as on a GPU, where it is told what the header says. */
function toldLinear(x: Tensor2D, weight: Tensor2D, numbers: readonly number[]) {
  const none = ['has_bias', 'has_norm', 'has_residual'].map((name) => attr.bool(name, false));
  const attributes = [...none, attr.float('epsilon', 0), attr.ints('quantised', [...numbers])];
  return executeOp('SdaLinear', attributes, [x, weight, x, x, x])[0]!;
}

describe('operations on a GPU are told', () => {
  test.for<[string, QuantisedShape, number[]]>([
    ['made here', { ...SHAPE, bits: 8, parts: 2 }, [8, 18, 50, 2, 0, 0, 0]],
    [
      'of another maker',
      { ...SHAPE, form: { scales: 'float16', zeros: 'whole', ordered: true } },
      [4, 18, 50, 1, 1, 1, 1],
    ],
    [
      'without zero points',
      { ...SHAPE, form: { scales: 'float32', zeros: 'none', ordered: false } },
      [4, 18, 50, 1, 2, 2, 0],
    ],
  ])('what the header of a matrix %s says', ([, shape, numbers]) => {
    const bytes = new Uint8Array(quantisedBytes(shape));
    writeHeader(bytes, shape);
    tidy(() => {
      expect(headerNumbers(quantisedTensor(bytes))).toEqual(numbers);
    });
  });

  test('nothing of floats, and the CPU reads for itself', () => {
    tidy(() => {
      expect(headerNumbers(tensor2d([[1, 2]]))).toEqual([0, 0, 0, 0, 0, 0, 0]);
      expect(toldShapes(tensor2d([[1, 2]]))).toEqual([]);
    });
  });

  test('and compute the same', ({ skip }) => {
    skip(!hasNativeKernel('SdaLinear'), 'the native kernels are left out');
    tidy(() => {
      const random = new Random(5);
      const weight = quantise({ weight: random.matrix(18, 50, 0.2), bits: 4 });
      const x = random.matrix(3, 50);
      const found = valuesOf(toldLinear(x, weight, headerNumbers(weight)));
      expect(found).toEqual(valuesOf(linear({ x, weight })));
    });
  });

  test.for<[string, number[], string]>([
    ['too few numbers', [4, 18], 'must have 7 numbers, but has 2'],
    ['no bits that there are', [5, 18, 50, 1, 0, 0, 0], 'describes no quantised matrix'],
    ['rows that are no equal parts', [4, 18, 50, 4, 0, 0, 0], 'describes no quantised matrix'],
    ['more rows than there are', [4, 34, 50, 1, 0, 0, 0], 'is no quantised matrix'],
    ['a matrix of floats', [0, 0, 0, 0, 0, 0, 0], 'is no quantised matrix'],
    ['other columns than x has', [4, 18, 49, 1, 0, 0, 0], 'quantised as [18, 49]'],
  ])('%s: refused', async ([, numbers, message], { skip }) => {
    skip(!hasNativeKernel('SdaLinear'), 'the native kernels are left out');
    const weight = quantise({ weight: new Random(6).matrix(18, 50), bits: 4 });
    const x = new Random(7).matrix(2, 50);
    expect(String(await errorOf(() => toldLinear(x, weight, numbers)))).toContain(message);
    weight.dispose();
    x.dispose();
  });
});

test('what keeps a device from quantised weights is said', () => {
  const native = { device: 'gpu', kernels: 'native', reason: '' } as const;
  expect(obstacleOn(native, '9.0')).toBe('');
  expect(obstacleOn(native, '12.0')).toBe('');
  expect(obstacleOn(native, null)).toBe('');
  expect(obstacleOn(native, '7.5')).toBe('it has compute capability 7.5 where 8.0 is needed');
  const reference = { ...native, kernels: 'reference', reason: 'SDA_KERNELS=reference' } as const;
  expect(obstacleOn(reference, '9.0')).toContain('(SDA_KERNELS=reference)');
  expect(obstacleOn({ ...reference, device: 'cpu' }, null)).toBe('');
});
