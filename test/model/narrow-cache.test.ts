import { type Tensor2D, tensor2d, tidy, zeros } from '@tensorflow/tfjs-core';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type LayerTensors, makeDecoderLayer } from '../../kernels/decoder-layer/index.js';
import { scoreTokens } from '../../src/evaluate/intrinsic.js';
import { loadModel, type SdaModel } from '../../src/generate/sda-model.js';
import { KvCache } from '../../src/model/kv-cache.js';
import { KV_DTYPES, type KvDtype } from '../../src/model/kv-dtype.js';
import type { DeviceDtype } from '../../src/runtime/backend.js';
import { castTo } from '../../src/runtime/device-tensors.js';
import { checkpointDir } from '../support/checkpoints.js';
import { expectClose, relativeError } from '../support/close.js';
import {
  absent,
  CALLS,
  type Call,
  configOf,
  decoderLayer,
  HEADS,
  type Heads,
  HIDDEN,
  inputsOf,
  read,
  realLines,
  runReference,
  shapeOf,
  weightsOf,
} from '../support/layers.js';
import { WITHOUT_NATIVE } from '../support/native.js';
import { Random } from '../support/random.js';
import { expectNoLeak, useTensorFlow, valuesOf } from '../support/tensorflow.js';
import { TOLERANCE } from '../support/tolerances.js';

useTensorFlow();

/** Nearest bfloat16, ties to even, of what is no NaN. */
function rounded(value: number): number {
  const [bits] = new Uint32Array(Float32Array.of(value).buffer);
  const [low, high] = [bits! & 0xffff, bits! >>> 16];
  const up = low > 0x8000 || (low === 0x8000 && high % 2 === 1);
  return new Float32Array(Uint32Array.of(((high + Number(up)) << 16) >>> 0).buffer)[0]!;
}

describe('a decoder layer over a cache in bfloat16', () => {
  beforeEach(({ skip }) => skip(...WITHOUT_NATIVE));

  /**
   * Whole numbers over powers of two, and no norms before the cache: keys and values are exact in any order of adding,
   * and most of them have more than the 8 bits of a bfloat16.
   */
  function exactLayer(heads: Heads, random: Random, window: number, dtype: DeviceDtype) {
    const whole = (shape: [number, number], largest: number, unit: number) => {
      const values = Float32Array.from(
        { length: shape[0] * shape[1] },
        () => unit * Math.round((2 * random.uniform() - 1) * largest),
      );
      return tensor2d(values, shape);
    };
    const weights = weightsOf(heads, random, { normsAfter: true, rotates: true, dtype });
    const { numHeads, numKeyValueHeads, headDim } = heads;
    const qkv = whole([(numHeads + 2 * numKeyValueHeads) * headDim, HIDDEN], 100, 1 / 256);
    const tensors = {
      ...weights,
      qkvProj: (dtype === 'float32' ? qkv : castTo(qkv, dtype)) as Tensor2D,
      queryNorm: undefined,
      keyNorm: undefined,
    };
    const layer = makeDecoderLayer(tensors, shapeOf(heads, window));
    const inputs = (call: Call) => {
      const { places, ...rest } = inputsOf(call, heads, random);
      const x = whole(rest.x.shape, 60, 1 / 32);
      return { x, places: { ...places, rotation: whole(places.rotation.shape, 2, 1 / 2) } };
    };
    return { layer, inputs };
  }

  const caches = (heads: Heads, rows: number, length: number, dtype: KvDtype) =>
    new KvCache(configOf(heads), rows, length, length, dtype);

  test.each(HEADS)(
    'is its reference: $numHeads / $numKeyValueHeads heads of $headDim',
    async (heads) => {
      const prompts = [11, 12, 40].map((length) => ({
        rows: [1],
        positions: [Array.from({ length }, (_, i) => i)],
      }));
      for (const [window, dtype] of [
        [0, 'float32'],
        [3, 'bfloat16'],
      ] as const) {
        await expectNoLeak(() => {
          const random = new Random(heads.headDim);
          const [own, reference] = [0, 1].map(() => caches(heads, 3, 40, 'bfloat16'));
          const exact = caches(heads, 3, 40, 'float32');
          tidy(() => {
            const { layer, inputs } = exactLayer(heads, random, window, dtype);
            for (const call of [...CALLS, ...prompts]) {
              const args = { ...inputs(call), layer, cache: own!.layer(0) };
              const found = valuesOf(decoderLayer(args));
              const expected = valuesOf(runReference(args, reference!.layer(0)));
              valuesOf(decoderLayer({ ...args, cache: exact.layer(0) }));
              expectClose(
                realLines(found, call, HIDDEN),
                realLines(expected, call, HIDDEN),
                TOLERANCE.kernel,
              );
            }
            layer.handle?.dispose();
          });
          for (const part of ['keys', 'values'] as const) {
            const written = read(exact.layer(0)[part]);
            const expected = written.map(rounded);
            expect(expected).not.toEqual(written);
            for (const cache of [own!, reference!]) {
              expect(relativeError(read(cache.layer(0)[part], 'bfloat16'), expected)).toBe(0);
            }
          }
          for (const cache of [own!, reference!, exact]) cache.dispose();
        });
      }
    },
  );

  test('ties go to the even one, what is too large to infinity, and a NaN stays one', () => {
    const heads = { numHeads: 1, numKeyValueHeads: 1, headDim: 2 };
    const values = [
      [1 + 1 / 256, 1],
      [1 + 3 / 256, 1 + 1 / 64],
      [-1 - 1 / 256, -1],
      [1 + 1 / 256 + 2 ** -23, 1 + 1 / 128],
      [1.99999, 2],
      [3.4e38, Number.POSITIVE_INFINITY],
      [Number.NEGATIVE_INFINITY, Number.NEGATIVE_INFINITY],
      [Number.NaN, Number.NaN],
    ] as const;
    const positions = values.map((_, index) => index);
    const cache = caches(heads, 1, values.length, 'bfloat16');
    tidy(() => {
      const layer = makeDecoderLayer(
        {
          ...absent,
          inputNorm: undefined,
          mlpNorm: undefined,
          qkvProj: tensor2d(Array(6).fill([1])),
          oProj: zeros([1, 2]),
          gateUpProj: zeros([2, 1]),
          downProj: zeros([1, 1]),
        } as LayerTensors,
        { ...shapeOf(heads), rotates: false },
      );
      const { places } = inputsOf({ rows: [0], positions: [positions] }, heads, new Random(1));
      const x = tensor2d(values.map(([value]) => [value]));
      decoderLayer({ x, layer, places, cache: cache.layer(0) });
      layer.handle?.dispose();
    });
    const expected = values.flatMap(([, value]) => [value, value]);
    for (const part of ['keys', 'values'] as const) {
      expect(read(cache.layer(0)[part], 'bfloat16')).toEqual(expected);
    }
    cache.dispose();
  });
});

describe('a model with its cache in bfloat16', () => {
  const ids = [3, 14, 15, 92, 65, 35, 8, 9];
  const models: SdaModel[] = [];
  beforeAll(async () => {
    for (const kv of KV_DTYPES) models.push(await loadModel(checkpointDir('tiny-llama'), { kv }));
  });
  afterAll(() => {
    for (const model of models) model.dispose();
  });

  /** The same of both: near, and not the same, wherever a cache is made. */
  test.each<[string, (model: SdaModel) => Promise<ArrayLike<number>>]>([
    ['logits', (model) => model.logits(ids)],
    ['logits at a position', async (model) => (await model.logitsAt(ids, [5]))[0]!],
    [
      'given tokens',
      async (model) => {
        const prompts = { baseIds: ids.slice(1), instructedIds: ids };
        return (await scoreTokens(model, prompts, [7, 8, 9])).logpBase;
      },
    ],
    [
      'steps',
      async (model) => {
        const steps: number[] = [];
        const prompts = { baseIds: ids.slice(1), instructedIds: ids };
        for await (const step of model.generate({ prompts, maxTokens: 3, seed: 1 })) {
          steps.push(step.js);
        }
        return steps;
      },
    ],
  ])('%s are near those over float32', async (_, of) => {
    const [wide, narrow] = [await of(models[0]!), await of(models[1]!)];
    const error = relativeError(narrow, wide);
    expect(error).toBeGreaterThan(0);
    expect(error).toBeLessThan(TOLERANCE.bfloat16Logits);
  });

  test('has the same bits alone and in a batch', async () => {
    const requests = [0, 1, 2].map((seed) => ({
      prompts: { baseIds: ids.slice(seed), instructedIds: [...ids, ...ids] },
      maxTokens: 8,
      seed,
    }));
    const all = async (some: typeof requests) => {
      const found: number[][] = some.map(() => []);
      for await (const steps of models[1]!.generateBatch(some)) {
        for (const { query, step } of steps) found[query]!.push(step.id, step.js);
      }
      return found;
    };
    const together = await all(requests);
    for (const [index, request] of requests.entries()) {
      expect(await all([request])).toEqual([together[index]]);
    }
  });
});
