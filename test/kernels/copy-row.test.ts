import { keep, type Tensor, tensor, tidy } from '@tensorflow/tfjs-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { copyRow, type RowPlaces, type RowVariables } from '../../kernels/copy-row/index.js';
import { copyRowReference } from '../../kernels/copy-row/reference.js';
import { attr, type DeviceDtype, executeOp, TfDtype } from '../../src/runtime/backend.js';
import { castTo, float32Tensor, int32Tensor } from '../../src/runtime/device-tensors.js';
import { WITHOUT_NATIVE } from '../support/native.js';
import { errorOf, expectNoLeak, useTensorFlow, valuesOf } from '../support/tensorflow.js';

useTensorFlow();

type Shape = RowVariables['shape'];
type Way = (of: RowVariables, places: RowPlaces) => void;

const byReference: Way = (of, { from, to, length }) => {
  const places = int32Tensor(Int32Array.of(from, to, length));
  copyRowReference({ places: places as never }, of);
  places.dispose();
};

/** A variable's own numbers, which every one of the types holds exactly. */
function numbers(variable: number, size: number): number[] {
  return Array.from({ length: size }, (_, i) => ((7 * variable + i) % 251) - 125);
}

function makeVariable(values: readonly number[], shape: Shape, dtype: DeviceDtype): Tensor {
  const type = TfDtype[dtype];
  return tidy(() => {
    const attrs = [
      attr.type('dtype', type),
      attr.shape('shape', [...shape]),
      attr.string('shared_name', 'cd2c89b7-88b7-44c8-ad83-06c2a9158347'),
    ];
    const [variable] = executeOp('VarHandleOp', attrs, []);
    const wide = tensor([...values], [...shape], 'float32');
    const value = dtype === 'float32' ? wide : castTo(wide, dtype);
    executeOp('AssignVariableOp', [attr.type('dtype', type)], [variable!, value], 0);
    return keep(variable!);
  });
}

function read(variable: Tensor, dtype: DeviceDtype): Tensor {
  return executeOp('ReadVariableOp', [attr.type('dtype', TfDtype[dtype])], [variable])[0]!;
}

function numbersOf(variable: Tensor, dtype: DeviceDtype): number[] {
  const value = read(variable, dtype);
  if (dtype === 'float32') return valuesOf(value);
  const wide = castTo(value, 'float32');
  value.dispose();
  return valuesOf(wide);
}

/** What the copy is to leave, number by number. */
function copied(
  values: readonly number[],
  [, heads, capacity, headDim]: Shape,
  { from, to, length }: RowPlaces,
): number[] {
  const expected = [...values];
  for (let head = 0; head < heads; head++) {
    for (let i = 0; i < length * headDim; i++) {
      const at = (row: number) => (row * heads + head) * capacity * headDim + i;
      expected[at(to)] = values[at(from)]!;
    }
  }
  return expected;
}

const WAYS: readonly (readonly [string, Way])[] = [
  ['the kernel', copyRow],
  ['its reference', byReference],
];

describe.each(WAYS)('%s', (_, copy) => {
  describe.each<DeviceDtype>(['float32', 'bfloat16', 'float16'])('%s', (dtype) => {
    test.each<[string, Shape, number, RowPlaces]>([
      ['upwards', [3, 2, 5, 4], 4, { from: 2, to: 0, length: 3 }],
      ['downwards, all that a row holds', [2, 3, 7, 1], 2, { from: 0, to: 1, length: 7 }],
      ['one position of one head of one layer', [2, 1, 1, 3], 1, { from: 1, to: 0, length: 1 }],
      ['nothing', [2, 2, 3, 2], 2, { from: 0, to: 1, length: 0 }],
      ['a row over itself', [2, 2, 3, 2], 2, { from: 1, to: 1, length: 2 }],
      ['more than one thread takes', [3, 5, 70, 33], 9, { from: 1, to: 2, length: 69 }],
    ])('%s', async (_, shape, count, places) => {
      await expectNoLeak(() => {
        const size = shape.reduce((product, each) => product * each, 1);
        const before = Array.from({ length: count }, (_, variable) => numbers(variable, size));
        const variables = before.map((values) => makeVariable(values, shape, dtype));
        copy({ variables, shape, dtype }, places);
        variables.forEach((variable, index) => {
          expect(numbersOf(variable, dtype)).toEqual(copied(before[index]!, shape, places));
          variable.dispose();
        });
      });
    });
  });

  test('what was read before keeps its values', async () => {
    await expectNoLeak(() => {
      const shape: Shape = [2, 1, 2, 2];
      const values = numbers(0, 8);
      const variable = makeVariable(values, shape, 'float32');
      const before = read(variable, 'float32');
      const places = { from: 0, to: 1, length: 1 };
      copy({ variables: [variable], shape, dtype: 'float32' }, places);
      expect(valuesOf(before)).toEqual(values);
      expect(numbersOf(variable, 'float32')).toEqual(copied(values, shape, places));
      variable.dispose();
    });
  });
});

test('bits that are no numbers, and those of subnormal ones, are copied as they are', async ({
  skip,
}) => {
  skip(...WITHOUT_NATIVE);
  await expectNoLeak(() => {
    const shape: Shape = [2, 1, 4, 1];
    const bits = Int32Array.of(1, 0x7f800001, 0x7fc00123, -1, -0x80000000, 0x12345, 3, 4);
    const variable = makeVariable(numbers(0, 8), shape, 'float32');
    const value = float32Tensor(new Float32Array(bits.slice().buffer), shape);
    executeOp('AssignVariableOp', [attr.type('dtype', TfDtype.float32)], [variable, value], 0);
    copyRow({ variables: [variable], shape, dtype: 'float32' }, { from: 0, to: 1, length: 4 });
    const found = read(variable, 'float32');
    const half = [...bits.subarray(0, 4)];
    const values = found.dataSync() as Float32Array;
    expect([...new Int32Array(values.slice().buffer)]).toEqual([...half, ...half]);
    for (const each of [variable, value, found]) each.dispose();
  });
});

describe('places that are not there', () => {
  const shape: Shape = [2, 1, 3, 1];
  const variables: Tensor[] = [];
  beforeAll(() => {
    variables.push(makeVariable(numbers(0, 6), shape, 'float32'));
  });
  afterAll(() => variables[0]!.dispose());

  test.each<[string, RowPlaces, string]>([
    ['from', { from: 2, to: 0, length: 1 }, 'from must be a whole number in 0..1, but is 2'],
    ['to', { from: 0, to: -1, length: 1 }, 'to must be a whole number in 0..1, but is -1'],
    ['length', { from: 0, to: 1, length: 4 }, 'length must be a whole number in 0..3, but is 4'],
    ['a part', { from: 0.5, to: 1, length: 1 }, 'from must be a whole number in 0..1, but is 0.5'],
  ])('%s', async (_, places, sentence) => {
    const of = { variables, shape, dtype: 'float32' } as const;
    expect(await errorOf(() => copyRow(of, places))).toMatchObject({
      code: 'bad-tensor',
      message: `copyRow: ${sentence}.`,
    });
    expect(numbersOf(variables[0]!, 'float32')).toEqual(numbers(0, 6));
  });

  test.for<[string, number[], RegExp]>([
    ['a row', [0, 2, 1], /rows must lie in 0\.\.1, but are 0 and 2/],
    ['a negative row', [-1, 0, 1], /rows must lie in 0\.\.1, but are -1 and 0/],
    ['too many positions', [0, 1, 4], /length must lie in 0\.\.3 \(the capacity\), but is 4/],
    ['fewer than none', [0, 1, -1], /length must lie in 0\.\.3 \(the capacity\), but is -1/],
    ['too few numbers', [0, 1], /places must have the shape \[3\]/],
  ])(
    'the operation itself refuses %s, and writes nothing',
    async ([, asked, sentence], { skip }) => {
      skip(...WITHOUT_NATIVE);
      const places = int32Tensor(Int32Array.from(asked));
      const call = () => executeOp('SdaCopyRow', [attr.int('N', 1)], [variables[0]!, places], 0);
      expect(String(await errorOf(call))).toMatch(sentence);
      places.dispose();
      expect(numbersOf(variables[0]!, 'float32')).toEqual(numbers(0, 6));
    },
  );
});
