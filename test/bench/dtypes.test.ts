import { dispose, memory, type Tensor, tensor2d } from '@tensorflow/tfjs-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { AccuracySums } from '../../src/bench/accuracy.js';
import { benchDtypes } from '../../src/bench/dtypes.js';
import { ForcedText, type Places } from '../../src/bench/forced-text.js';
import { loadModel, resolveSettings, type SdaModel } from '../../src/index.js';
import { checkpointDir } from '../support/checkpoints.js';
import { expectClose } from '../support/close.js';
import { Random } from '../support/random.js';
import { stepsAlone } from '../support/steps.js';
import { errorOf, valuesOf } from '../support/tensorflow.js';

const dir = checkpointDir('tiny-llama');
let model: SdaModel;
let eight: SdaModel;
beforeAll(async () => {
  model = await loadModel(dir, { dtype: 'float32' });
  eight = await loadModel(dir, { dtype: 'int8' });
});
afterAll(() => {
  model.dispose();
  eight.dispose();
});

const baseIds = [5, 9, 2, 40];
const instructedIds = [5, 9, 2, 77, 31, 8];
const prompts = { baseIds, instructedIds, sharedTokens: 3, source: 'ids' } as const;
/** More than two windows of places. */
const TEXT = Array.from({ length: 70 }, (_, i) => (11 * i + 4) % 96);

const logSoftmax = (logits: readonly number[]) => {
  const largest = Math.max(...logits);
  const logZ = largest + Math.log(logits.reduce((sum, x) => sum + Math.exp(x - largest), 0));
  return logits.map((x) => x - logZ);
};

const lines = (tensor: Tensor) => {
  const [n, V] = tensor.shape as [number, number];
  const values = valuesOf(tensor);
  return Array.from({ length: n }, (_, line) => values.slice(line * V, (line + 1) * V));
};

describe('a text told to a model', () => {
  it('gives the logits of the base stream to the bit, and eqs 4-8 of both streams, at every place', () => {
    const before = memory().numTensors;
    const settings = resolveSettings({ amplification: 0.7 });
    const text = new ForcedText(model, settings, prompts, TEXT);
    const [base, steered, stats]: number[][][] = [[], [], []];
    while (base!.length < TEXT.length) {
      const places = text.next();
      base!.push(...lines(places.base));
      steered!.push(...lines(places.steered));
      stats!.push(...lines(places.stats));
    }
    text.dispose();
    expect(memory().numTensors).toBe(before);

    const given = TEXT.slice(0, -1);
    const [p, q] = [baseIds, instructedIds].map((ids) => stepsAlone(model.decoder, ids, given));
    expect(base).toEqual(p);
    const { k, t0, sigma, tMin } = settings;
    for (const [place, logits] of p!.entries()) {
      const [p1, p2] = [logSoftmax(logits), logSoftmax(q![place]!)];
      const mean = p1.map((x, token) => Math.log((Math.exp(x) + Math.exp(p2[token]!)) / 2));
      const kl = (a: number[]) => a.reduce((sum, x, i) => sum + Math.exp(x) * (x - mean[i]!), 0);
      const js = (kl(p1) + kl(p2)) / 2;
      const T = Math.max(tMin, t0 * 0.5 ** (js / sigma));
      const score = p2.map((x, token) => (x + k * 0.7 * (x - p1[token]!)) / T);
      expectClose(stats![place]!.slice(0, 2), [js, T], 1e-5);
      expectClose(steered![place]!, logSoftmax(score), 1e-4);
    }
  });

  it('is refused where the context does not hold it', async () => {
    const long = Array.from({ length: 124 }, () => 1);
    const error = await errorOf(() => new ForcedText(model, resolveSettings(), prompts, long));
    expect(error).toMatchObject({
      code: 'context-exceeded',
      message: expect.stringContaining('take 129 positions') as string,
    });
    new ForcedText(model, resolveSettings(), prompts, long.slice(1)).dispose();
  });
});

describe('accuracy', () => {
  it('is the mean divergence in float64, whatever the windows; what P never says counts nothing', () => {
    const random = new Random(5);
    const V = 40;
    const sides = [0, 1].map(() =>
      Array.from({ length: 6 }, () => [Number.NEGATIVE_INFINITY, ...random.normals(V - 1, 3)]),
    );
    sides[0]![2]![7] = Number.NEGATIVE_INFINITY; // a token that only the second one can say
    const logs = sides.map((side) => side.map(logSoftmax));
    const js = [0, 1].map(() => Array.from({ length: 6 }, () => random.uniform()));
    const placesOf = (side: number, from: number, to: number): Places => ({
      base: tensor2d(sides[side]!.slice(from, to).map((line) => line.map((x) => x + side))),
      steered: tensor2d(logs[side]!.slice(from, to)),
      stats: tensor2d(js[side]!.slice(from, to).map((x) => [x, 1])),
    });
    const sums = new AccuracySums();
    for (const [from, to] of [
      [0, 4],
      [4, 6],
    ] as const) {
      const [expected, found] = [placesOf(0, from, to), placesOf(1, from, to)];
      sums.add(expected, found);
      for (const each of [expected, found]) dispose([each.base, each.steered, each.stats]);
    }
    const kl = logs[0]!.map((line, place) =>
      line.reduce((sum, x, token) => {
        const chance = Math.exp(x);
        return chance === 0 ? sum : sum + chance * (x - logs[1]![place]![token]!);
      }, 0),
    );
    const mean = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / values.length;
    const likeliest = (line: readonly number[]) => line.indexOf(Math.max(...line));
    const same = mean(
      logs[0]!.map((line, place) => Number(likeliest(line) === likeliest(logs[1]![place]!))),
    );
    const { tokens, ...found } = sums.means;
    expect(tokens).toBe(6);
    const off = mean(js[0]!.map((x, place) => Math.abs(x - js[1]![place]!)));
    expectClose(
      [found.klBase, found.klSteered, found.js, found.sameBase, found.sameSteered],
      [mean(kl), mean(kl), off, same, same],
      1e-5,
    );
  });
});

describe('types side by side', () => {
  const options = {
    prompts,
    tokens: 3,
    repeats: 2,
    greedy: true,
    text: TEXT.slice(0, 40),
    probeBytes: 2 ** 20,
  };

  it('are each held to the first', async () => {
    const before = memory().numTensors;
    const { dtypes, memory: read } = await benchDtypes([model, eight], options);
    expect(memory().numTensors).toBe(before);
    expect(dtypes.map(({ dtype }) => dtype)).toEqual(['float32', 'int8']);
    expect(dtypes[0]).toMatchObject({ timesFirst: null, accuracy: null });
    const { accuracy, timesFirst, sda, plain, weightBytes } = dtypes[1]!;
    expect(accuracy!.tokens).toBe(40);
    expect(accuracy!.klBase).toBeGreaterThan(0);
    expect(accuracy!.klBase).toBeLessThan(1e-2);
    expect(timesFirst!.samples).toHaveLength(2);
    expect(sda.stepMs.samples).toHaveLength(2);
    expect(plain.limitShare).toBeGreaterThan(0);
    expect(weightBytes).toBeLessThan(dtypes[0]!.weightBytes / 2);
    expect(read.bandwidth[read.probe]!.samples).toHaveLength(2);
  });

  it('are equal where they are the same', async () => {
    const { dtypes } = await benchDtypes([model, model], options);
    const equal = { klBase: 0, klSteered: 0, js: 0, sameBase: 1, sameSteered: 1 };
    expect(dtypes[1]!.accuracy).toEqual({ tokens: 40, ...equal });
  });

  it('are not compared without a text', async () => {
    const { dtypes } = await benchDtypes([model, eight], { ...options, text: [] });
    expect(dtypes.map(({ accuracy }) => accuracy)).toEqual([null, null]);
  });

  it('stop when they are told to', async () => {
    const signal = AbortSignal.abort();
    const before = memory().numTensors;
    const error = await errorOf(() => benchDtypes([model, eight], { ...options, signal }));
    expect(error).toMatchObject({ code: 'aborted' });
    expect(memory().numTensors).toBe(before);
  });
});
