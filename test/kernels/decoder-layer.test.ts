import {
  slice,
  type Tensor,
  type Tensor1D,
  type Tensor2D,
  tensor,
  tensor1d,
  tensor2d,
  tidy,
  zeros,
} from '@tensorflow/tfjs-core';
import { beforeEach, describe, expect, test } from 'vitest';
import {
  type DecoderLayer,
  decoderLayers,
  type LayerTensors,
  makeDecoderLayer,
} from '../../kernels/decoder-layer/index.js';
import { KvCache } from '../../src/model/kv-cache.js';
import { expectClose } from '../support/close.js';
import {
  absent,
  CALLS,
  type Call,
  configOf,
  type DecoderLayerArgs,
  decoderLayer,
  HEADS,
  HIDDEN,
  inputsOf,
  type Options,
  read,
  realLines,
  runReference,
  shapeOf,
  weightsOf,
  withLayer,
} from '../support/layers.js';
import { WITHOUT_NATIVE } from '../support/native.js';
import { Random } from '../support/random.js';
import { errorOf, expectNoLeak, useTensorFlow, valuesOf } from '../support/tensorflow.js';
import { TOLERANCE } from '../support/tolerances.js';

useTensorFlow();

const OPTIONS: readonly Options[] = [
  {},
  { window: 3, dtype: 'bfloat16' },
  { headNorms: true, biases: true },
  { headNorms: true, window: 1, dtype: 'float16' },
  { biases: true, dtype: 'bfloat16' },
  { rotates: false },
  { rotates: false, headNorms: true, window: 3 },
  { normsAfter: true, dtype: 'bfloat16' },
  { normsAfter: true, biases: true, rotates: false },
];

describe.each(HEADS)(
  'a decoder layer is its reference: $numHeads / $numKeyValueHeads heads of $headDim',
  (heads) => {
    beforeEach(({ skip }) => skip(...WITHOUT_NATIVE));
    test.each(OPTIONS)('%j', async (options) => {
      await expectNoLeak(() => {
        const random = new Random(heads.headDim);
        const [own, reference] = [0, 1].map(() => new KvCache(configOf(heads), 3, 9, 9));
        tidy(() => {
          const tensors = weightsOf(heads, random, options);
          const shape = shapeOf(heads, options.window, options.rotates);
          const layer = makeDecoderLayer(tensors, shape);
          for (const call of CALLS) {
            const args = { ...inputsOf(call, heads, random), layer, cache: own!.layer(0) };
            const found = decoderLayer(args);
            expect(found.shape).toEqual(args.x.shape);
            const expected = runReference(args, reference!.layer(0));
            expectClose(
              realLines(valuesOf(found), call, HIDDEN),
              realLines(valuesOf(expected), call, HIDDEN),
              TOLERANCE.kernel,
            );
          }
          layer.handle?.dispose();
        });
        for (const part of ['keys', 'values'] as const) {
          expectClose(read(own!.layer(0)[part]), read(reference!.layer(0)[part]), TOLERANCE.kernel);
        }
        for (const cache of [own!, reference!]) cache.dispose();
      });
    });
  },
);

describe.each(HEADS)(
  'among others of its row: $numHeads / $numKeyValueHeads heads of $headDim',
  (heads) => {
    beforeEach(({ skip }) => skip(...WITHOUT_NATIVE));
    test.each([
      [0, 'float32'],
      [0, 'bfloat16'],
      [1, 'float32'],
      [6, 'float32'],
      [19, 'bfloat16'],
    ] as const)(
      'a token has the bits that it has alone, window %i, keys in %s',
      async (window, kv) => {
        const length = 45;
        await expectNoLeak(() => {
          const caches = [0, 1].map(() => new KvCache(configOf(heads), 2, length, length, kv));
          const [together, alone] = caches as [KvCache, KvCache];
          withLayer(heads, { window }, {}, (layer, random) => {
            const rows = (...ids: number[]) => tensor(ids, [ids.length], 'int32') as Tensor1D;
            const call = { rows: [1], positions: [Array.from({ length }, (_, i) => i)] };
            const { x, places } = inputsOf(call, heads, random);
            const found = valuesOf(decoderLayer({ x, layer, places, cache: together.layer(0) }));
            const one = call.positions[0]!.flatMap((position) => {
              const positions = tensor([[position]], [1, 1], 'int32') as Tensor2D;
              const own = { ...places, positions, rows: rows(1) };
              const line = slice(x, [position, 0], [1, HIDDEN]) as Tensor2D;
              return valuesOf(decoderLayer({ x: line, layer, places: own, cache: alone.layer(0) }));
            });
            expect(found).toEqual(one);
          });
          for (const cache of caches) cache.dispose();
        });
      },
    );
  },
);

/** Many rows go through other loops than few. */
test.for([11, 12, 40])('a prompt of %i tokens is its reference', (length, { skip }) => {
  skip(...WITHOUT_NATIVE);
  const heads = { numHeads: 4, numKeyValueHeads: 2, headDim: 16 };
  const call = { rows: [0], positions: [Array.from({ length }, (_, i) => i)] };
  const [own, reference] = [0, 1].map(() => new KvCache(configOf(heads), 1, length, length));
  for (const dtype of ['float32', 'bfloat16', 'float16'] as const) {
    withLayer(heads, { dtype }, {}, (layer, random) => {
      const args = { ...inputsOf(call, heads, random), layer, cache: own!.layer(0) };
      const expected = runReference(args, reference!.layer(0));
      expectClose(valuesOf(decoderLayer(args)), valuesOf(expected), TOLERANCE.kernel);
    });
  }
  for (const cache of [own!, reference!]) cache.dispose();
});

describe('decoderLayers', () => {
  const heads = { numHeads: 2, numKeyValueHeads: 1, headDim: 4 };
  const noMlp = () => ({ gateUpProj: zeros([2, 2]), downProj: zeros([2, 1]) }) as const;

  test('equal keys share the weight evenly among what a token sees', () => {
    const cache = new KvCache(configOf(heads), 1, 8, 8);
    const call = { rows: [0], positions: [[0, 1, 2, 3]] };
    // x = (c, sqrt(1 - c^2)) has an RMS of sqrt(1/2); keys are 0, every value is c, and o takes the first
    const c = [0.1, 0.2, 0.3, 0.6];
    for (const [window, first] of [
      [0, 0],
      [2, 2],
      [1, 3],
      [9, 0],
    ] as const) {
      tidy(() => {
        const ones = tensor1d([1, 1]);
        const nothing = Array(12).fill([0, 0]);
        const layer = makeDecoderLayer(
          {
            ...absent,
            ...noMlp(),
            inputNorm: ones,
            mlpNorm: ones,
            qkvProj: tensor2d([...nothing, ...Array(4).fill([Math.SQRT1_2, 0])]),
            oProj: tensor2d([[1, ...Array(7).fill(0)], Array(8).fill(0)]),
          } as LayerTensors,
          { ...shapeOf(heads, window), epsilon: 0 },
        );
        const { places } = inputsOf(call, heads, new Random(1));
        const x = tensor2d(c.map((value) => [value, Math.sqrt(1 - value * value)]));
        const found = valuesOf(decoderLayer({ x, layer, places, cache: cache.layer(0) }));
        layer.handle?.dispose();
        const seen = c.slice(first);
        const mean = seen.reduce((a, b) => a + b) / seen.length;
        expectClose([found[6]!, found[0]!], [c[3]! + mean, 2 * c[0]!], TOLERANCE.kernel);
      });
    }
    cache.dispose();
  });

  test('the MLP has the values of its formula, large gates of either sign too', () => {
    const cache = new KvCache(configOf(heads), 1, 4, 4);
    tidy(() => {
      const one = tensor1d([1]);
      for (const [column, value] of [0, 3 / (1 + Math.exp(-1)), 400, 0].entries()) {
        const layer = makeDecoderLayer(
          {
            ...absent,
            inputNorm: one,
            mlpNorm: one,
            qkvProj: zeros([16, 1]),
            oProj: zeros([1, 8]),
            gateUpProj: tensor2d([[0], [1], [200], [-200], [5], [3], [2], [7]]),
            downProj: tensor2d([[0, 0, 0, 0].map((_, i) => (i === column ? 1 : 0))]),
          } as LayerTensors,
          { ...shapeOf(heads), epsilon: 0 },
        );
        const { places } = inputsOf({ rows: [0], positions: [[0]] }, heads, new Random(1));
        const args = { x: tensor2d([[1]]), layer, places, cache: cache.layer(0) };
        expectClose(valuesOf(decoderLayer(args)), [1 + value], TOLERANCE.kernel);
        layer.handle?.dispose();
      }
    });
    cache.dispose();
  });

  test('scores of 1e4 give a finite result', () => {
    const cache = new KvCache(configOf(heads), 1, 4, 4);
    withLayer(heads, {}, { scale: 100 }, (layer, random) => {
      const inputs = inputsOf({ rows: [0], positions: [[0, 1, 2]] }, heads, random);
      const found = valuesOf(decoderLayer({ ...inputs, layer, cache: cache.layer(0) }));
      expect(found.every(Number.isFinite)).toBe(true);
    });
    cache.dispose();
  });

  test.each<[string, Call, string]>([
    ['a position beyond the capacity', { rows: [0, 1], positions: [[1], [4]] }, 'positions must'],
    ['a position below -1', { rows: [0, 1], positions: [[1], [-2]] }, 'positions must'],
    ['a position without angles', { rows: [0, 1], positions: [[1], [2]] }, 'rotation has 2 lines'],
    ['a row that the cache lacks', { rows: [0, 2], positions: [[1], [1]] }, 'rows must'],
    ['a negative row', { rows: [-1, 1], positions: [[1], [1]] }, 'rows must'],
    ['one place twice', { rows: [1, 1], positions: [[1], [1]] }, 'each token must'],
    [
      'one place twice in a line',
      {
        rows: [1, 0],
        positions: [
          [1, 1],
          [0, 1],
        ],
      },
      'each token must',
    ],
  ])('refuses %s and writes nothing', async (_, call, message) => {
    await expectNoLeak(async () => {
      const cache = new KvCache(configOf(heads), 2, 4, 4);
      const before = read(cache.layer(0).keys);
      const plain = {
        rows: [0, 1],
        positions: call.positions.map((line) => line.map((_, i) => 1 - i)),
      };
      const error = await errorOf(() =>
        withLayer(heads, {}, {}, (layer, random) => {
          const { x, places } = inputsOf(plain, heads, random);
          const { shape } = places.positions;
          const positions = tensor(call.positions.flat(), shape, 'int32') as Tensor2D;
          const rows = tensor([...call.rows], [2], 'int32') as Tensor1D;
          const changed = { ...places, positions, rows };
          decoderLayer({ x, layer, places: changed, cache: cache.layer(0) });
        }),
      );
      expect(error).toBeInstanceOf(Error);
      expect(error.message).toContain(`decoderLayers: ${message}`);
      expect(read(cache.layer(0).keys)).toEqual(before);
      cache.dispose();
    });
  });

  test.each<[string, (args: DecoderLayerArgs) => Partial<DecoderLayerArgs>, string]>([
    [
      'number of rows',
      ({ places }) => ({
        places: { ...places, rows: tensor([0, 1], [2], 'int32') as Tensor1D },
      }),
      'rows must have the shape [1], but has [2].',
    ],
    [
      'x',
      () => ({ x: tensor2d([Array(HIDDEN).fill(0), Array(HIDDEN).fill(0)]) }),
      'x must have the shape [1, 37], but has [2, 37].',
    ],
    [
      'rotation',
      ({ places }) => ({ places: { ...places, rotation: tensor2d([[0, 0]]) } }),
      'rotation must have the shape [any, 4], but has [1, 2].',
    ],
  ])('names a wrong %s', async (_, wrong, message) => {
    const cache = new KvCache(configOf(heads), 2, 4, 4);
    const error = await errorOf(() =>
      withLayer(heads, {}, {}, (layer, random) => {
        const inputs = inputsOf({ rows: [0], positions: [[0]] }, heads, random);
        const args = { ...inputs, layer, cache: cache.layer(0) };
        decoderLayer({ ...args, ...wrong(args) });
      }),
    );
    expect(error).toMatchObject({ code: 'bad-tensor', message: `decoderLayers: ${message}` });
    cache.dispose();
  });

  test.each<[keyof LayerTensors, readonly number[], string]>([
    ['qkvProj', [1, 1], '[16, 37], but has [1, 1].'],
    ['qkvBias', [1], '[16], but has [1].'],
    ['queryNorm', [1], '[4], but has [1].'],
    ['keyNorm', [1], '[4], but has [1].'],
    ['oProj', [1, 1], '[37, 8], but has [1, 1].'],
    ['oBias', [1], '[37], but has [1].'],
    ['attentionOutputNorm', [2], '[37], but has [2].'],
    ['mlpNorm', [1], '[37], but has [1].'],
    ['mlpOutputNorm', [3], '[37], but has [3].'],
    ['downProj', [3, 5], '[37, any], but has [3, 5].'],
    ['gateUpProj', [5, 37], '[106, 37], but has [5, 37].'],
    ['gateUpBias', [3], '[106], but has [3].'],
    ['downBias', [5], '[37], but has [5].'],
  ])('names a wrong weight %s', async (name, shape, message) => {
    const error = await errorOf(() =>
      tidy(() => {
        const tensors = weightsOf(heads, new Random(1), {});
        makeDecoderLayer({ ...tensors, [name]: zeros([...shape]) }, shapeOf(heads));
      }),
    );
    expect(error).toMatchObject({
      code: 'bad-tensor',
      message: `makeDecoderLayer: ${name} must have the shape ${message}`,
    });
  });

  test('names a key norm of each head beside a query norm of all', async () => {
    const four = { numHeads: 4, numKeyValueHeads: 2, headDim: 4 };
    const error = await errorOf(() =>
      tidy(() => {
        const tensors = weightsOf(four, new Random(1), { normsAfter: true });
        makeDecoderLayer({ ...tensors, keyNorm: zeros([4]) }, shapeOf(four));
      }),
    );
    expect(error).toMatchObject({
      code: 'bad-tensor',
      message: 'makeDecoderLayer: keyNorm must have the shape [8], but has [4].',
    });
  });

  test('refuses heads that do not divide', async () => {
    const odd = { numHeads: 3, numKeyValueHeads: 2, headDim: 4 };
    const error = await errorOf(() =>
      tidy(() => {
        makeDecoderLayer(weightsOf(heads, new Random(1), {}), shapeOf(odd));
      }),
    );
    expect(error).toMatchObject({
      code: 'bad-tensor',
      message: expect.stringMatching(/number of heads \(3\) must be a multiple/),
    });
  });
});

describe('several layers in one call', () => {
  const heads = { numHeads: 4, numKeyValueHeads: 2, headDim: 12 };
  const OF_LAYERS: readonly Options[] = [{}, { headNorms: true, dtype: 'bfloat16' }, { window: 2 }];

  /** Layers of random weights, with a cache of their own. */
  async function withLayers(
    body: (layers: DecoderLayer[], caches: KvCache[], random: Random) => void,
  ) {
    await expectNoLeak(() => {
      const caches = OF_LAYERS.map(() => new KvCache(configOf(heads), 3, 9, 9));
      tidy(() => {
        const random = new Random(11);
        const layers = OF_LAYERS.map((options) =>
          makeDecoderLayer(weightsOf(heads, random, options), shapeOf(heads, options.window)),
        );
        body(layers, caches, random);
        for (const { handle } of layers) handle?.dispose();
      });
      for (const cache of caches) cache.dispose();
    });
  }

  test('give what they give one after another, to the bit', async () => {
    await withLayers((layers, caches, random) => {
      const others = layers.map(() => new KvCache(configOf(heads), 3, 9, 9));
      for (const call of CALLS) {
        const { x, places } = inputsOf(call, heads, random);
        const together = decoderLayers({
          x,
          layers,
          places,
          caches: caches.map((cache) => cache.layer(0)),
        });
        const alone = layers.reduce(
          (y, layer, i) => decoderLayer({ x: y, layer, places, cache: others[i]!.layer(0) }),
          x,
        );
        const lines = (tensor: Tensor) => realLines(valuesOf(tensor), call, HIDDEN);
        expect(lines(together)).toEqual(lines(alone));
      }
      for (const cache of others) cache.dispose();
    });
  });

  test('are checked before any of them writes', async () => {
    await withLayers((layers, caches, random) => {
      const before = read(caches[0]!.layer(0).keys);
      const short = new KvCache(configOf(heads), 3, 3, 3);
      const { x, places } = inputsOf({ rows: [0], positions: [[4]] }, heads, random);
      const of = (given: readonly KvCache[]) => () =>
        decoderLayers({ x, layers, places, caches: given.map((cache) => cache.layer(0)) });
      expect(of([caches[0]!, caches[1]!, short])).toThrow('positions must lie in -1..2');
      expect(read(caches[0]!.layer(0).keys)).toEqual(before);
      expect(of(caches.slice(1))).toThrow('there are 3 layers and 2 caches');
      short.dispose();
    });
  });
});
