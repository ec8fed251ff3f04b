import { type Tensor2D, tensor2d } from '@tensorflow/tfjs-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { decode, type Query } from '../../src/decode/generate.js';
import type { LayerChoice } from '../../src/method/layer-contrast.js';
import { readDraw } from '../../src/method/rule.js';
import type { TappedModel } from '../../src/method/taps.js';
import { type LoadedDecoder, loadDecoder } from '../../src/model/load-model.js';
import { resolveSettingsOf, type SettingsOf } from '../../src/rules/define.js';
import { dola } from '../../src/rules/dola.js';
import { defaultModelDir } from '../../src/runtime/paths.js';
import fixture from '../fixtures/rules/dola.json' with { type: 'json' };
import { expectNear } from '../support/close.js';
import { useReferenceKernels } from '../support/native.js';
import { Random } from '../support/random.js';
import { errorOf, expectNoLeak, useTensorFlow } from '../support/tensorflow.js';
import { TOLERANCE } from '../support/tolerances.js';
import { expectDrawn } from './draws.js';
import { entropy, jensenShannon, logSoftmax, logSumExp, masked, plausible } from './float64.js';
import { AWKWARD, MASKED, rowsOf } from './rows.js';

useTensorFlow();

type Settings = Partial<SettingsOf<typeof dola>>;

/** One step of one query: what the model says after all layers, and after some. */
interface LayerQuery {
  readonly mature: Float32Array;
  readonly premature: Readonly<Record<number, Float32Array>>;
  readonly settings: Settings;
  readonly uniform: number;
}

const MODEL: TappedModel = { layers: 8, hidden: 4, tied: false };

function step(queries: readonly LayerQuery[]): Promise<LayerChoice[]> {
  return expectNoLeak(async () => {
    const settings = queries.map((query) => resolveSettingsOf(dola, query.settings));
    const linesOf = (rows: readonly Float32Array[]) => {
      const values = rows.flatMap((row) => [...row]);
      return tensor2d(values, [rows.length, rows[0]!.length]);
    };
    const taps = settings.map((each) => dola.step.taps!(each, [MODEL]));
    const tensors = new Map<number, Tensor2D>();
    for (const { after } of taps.flat()) {
      if (!tensors.has(after)) {
        tensors.set(after, linesOf(queries.map(({ premature }) => premature[after]!)));
      }
    }
    const logits = linesOf(queries.map(({ mature }) => mature));
    const drawn = await dola.step(logits, {
      settings,
      uniforms: queries.map(({ uniform }) => uniform),
      tapped: { taps, read: ({ after }) => tensors.get(after)! },
    });
    for (const tensor of [logits, ...tensors.values()]) tensor.dispose();
    return 'lines' in drawn ? readDraw(drawn) : [...drawn];
  });
}

const LAYERS = [0, 2, 4, 5, 7];
const namesOf = (layers: readonly number[]) => ['mature', ...layers.map((layer) => `l${layer}`)];

function queryOf(seed: number, V: number, settings: Settings, uniform = 0.5): LayerQuery {
  const random = new Random(seed);
  const kind = AWKWARD[seed % AWKWARD.length]!;
  const rows = rowsOf(random, namesOf(LAYERS), { V, kind, anchor: 'mature' });
  const premature = Object.fromEntries(LAYERS.map((layer) => [layer, rows[`l${layer}`]!]));
  // ids that no token has are impossible after every layer
  for (const layer of LAYERS) {
    rows.mature!.forEach((value, id) => {
      if (value === MASKED || kind.startsWith('impossible'))
        premature[layer]![id] = value === MASKED ? MASKED : Math.max(premature[layer]![id]!, -30);
    });
  }
  return { mature: rows.mature!, premature, settings, uniform };
}

/** The paper's step in float64: the layer, and log of what is drawn from. */
function published(
  { mature, premature }: LayerQuery,
  candidates: readonly number[],
  alpha: number,
) {
  const layers = candidates.toSorted((a, b) => a - b); // of equals the lowest
  const divergences = layers.map((layer) => jensenShannon(mature, premature[layer]!));
  const js = Math.max(...divergences);
  const layer = layers[divergences.indexOf(js)]!;
  const others = divergences.filter((_, index) => layers[index] !== layer);
  const kept = plausible(mature, alpha);
  const [m, p] = [logSoftmax(mature), logSoftmax(premature[layer]!)];
  const score = masked(
    m.map((value, id) => (value === MASKED ? MASKED : value - p[id]!)),
    kept,
  );
  const margin = Math.min(kept.margin, js - Math.max(...others, -1));
  return { layer, js, score, margin };
}

/** Steps of the rule against the paper's. */
function holdToFloat64(sizes: readonly number[]): void {
  test.each(sizes)('V = %s', async (V) => {
    for (let seed = 0; seed < (V > 1000 ? 2 : 20); seed++) {
      const alpha = [0.1, 0, 0.5][seed % 3]!;
      const layers = [[0, 4, 7], [5], [7, 2, 0, 4, 5]][seed % 3]!;
      const temperature = 0.5 + (seed % 4) / 3;
      const settings = { alpha, layers, temperature, details: seed % 2 === 0 };
      const query = queryOf(seed, V, settings, (seed + 0.5) / 20);
      const expected = published(query, layers, alpha);
      const same = V === 1 || seed % AWKWARD.length === 4; // all layers say the same: the lowest is taken
      if (!same && expected.margin < 1e-5) continue;
      const [choice] = (await step([query])) as [LayerChoice];
      expect(choice.layer).toBe(expected.layer);
      expectNear(choice.js, expected.js, TOLERANCE.js);
      expect(choice.temperature).toBeCloseTo(temperature, 5);
      const logProbs = logSoftmax(expected.score, temperature);
      const scale = Math.max(1, Math.abs(logProbs[choice.id]!), 30);
      expectNear(choice.logp, logProbs[choice.id]!, TOLERANCE.logProb * scale);
      expectDrawn(choice, query.uniform, logProbs);
      const rows = { mature: query.mature, premature: query.premature[choice.layer]! };
      for (const name of ['mature', 'premature'] as const) {
        const logP = rows[name][choice.id]! - logSumExp(rows[name]);
        expectNear(choice.logps[name], logP, TOLERANCE.logProb * Math.max(1, -logP));
        if (!choice.details) continue;
        const nats = entropy(rows[name]);
        expectNear(choice.details.entropies[name], nats, TOLERANCE.logProb * Math.max(1, nats));
      }
      if (choice.details) expect(choice.details.weights).toEqual({ mature: 1, premature: -1 });
    }
  });
}

describe('dola without the native kernels', () => {
  useReferenceKernels();
  holdToFloat64([1, 7, 1000]);
});

describe('dola in float64', () => {
  holdToFloat64([1, 7, 1000, 151_936]);

  test('each query of a batch has its own layers and settings, and its bits alone', async () => {
    const queries = Array.from({ length: 10 }, (_, i) =>
      queryOf(
        i,
        501,
        {
          layers: ([[0, 2], 'low', 'high', [7], [5, 4]] as const)[i % 5] as 'low',
          alpha: i / 20,
          temperature: i === 3 ? 0 : 1,
          topK: i,
          norm: i % 2 === 0,
          details: i % 3 === 0,
        },
        (i + 0.5) / 10,
      ),
    ).map((query) => ({ ...query, premature: { ...query.premature, 6: query.premature[5]! } }));
    const together = await step(queries);
    for (const [index, query] of queries.entries()) {
      expect(await step([query])).toEqual([together[index]]);
    }
    expect(new Set(together.map(({ layer }) => layer)).size).toBeGreaterThan(2);
  });
});

describe('candidate layers', () => {
  const candidates = (layers: number, tied: boolean, asked: 'low' | 'high' | number[]) =>
    dola.step.taps!(resolveSettingsOf(dola, { layers: asked }), [{ layers, tied, hidden: 1 }]).map(
      ({ after }) => after,
    );
  // those that transformers 4.53 takes
  test.each<[number, boolean, number[], number[]]>([
    [32, false, [0, 2, 4, 6, 8, 10, 12, 14], [16, 18, 20, 22, 24, 26, 28, 30]],
    [30, true, [2, 4, 6, 8, 10, 12, 14], [15, 17, 19, 21, 23, 25, 27, 29]],
    [80, false, [0, 2, 4, 6, 8, 10, 12, 14, 16, 18], [60, 62, 64, 66, 68, 70, 72, 74, 76, 78]],
    [3, false, [0], [1]],
    [2, true, [1], [1]],
    [1, true, [0], [0]],
    [1, false, [0], [0]],
  ])('of %s, tied: %s', (layers, tied, low, high) => {
    expect(candidates(layers, tied, 'low')).toEqual(low);
    expect(candidates(layers, tied, 'high')).toEqual(high);
  });

  test('that the model does not have are refused, and so is a step without layers', async () => {
    expect(await errorOf(() => candidates(6, false, [2, 6]))).toMatchObject({
      code: 'bad-input',
      message:
        'The setting layers of the rule dola names layer 6, but the model has 6: name whole numbers in 0..5.',
    });
    const logits = tensor2d([1, 2], [1, 2]);
    const draws = { settings: [resolveSettingsOf(dola)], uniforms: [0.5] };
    expect(await errorOf(() => dola.step(logits, draws))).toMatchObject({
      message: expect.stringMatching(/^The rule dola reads layers of its model, which this step/),
    });
    logits.dispose();
  });
});

describe('greedy texts', () => {
  let model: LoadedDecoder;
  beforeAll(async () => {
    model = await loadDecoder(defaultModelDir(), { dtype: 'float32' });
  });
  afterAll(() => model.dispose());
  const END = 2; // of this model

  test.each([
    ['of transformers with one layer', fixture.transformers],
    ["of the paper's formula, with its layers", fixture.published],
  ])('%s', { timeout: 240_000 }, async (_, cases) => {
    const queries = cases.map(
      ({ prompt, layers, norm, ids }): Query<SettingsOf<typeof dola>> => ({
        streams: [prompt],
        settings: resolveSettingsOf(dola, { layers: layers as number[], norm, greedy: true }),
        seed: 0,
        maxTokens: Math.max(ids.length, 64),
      }),
    );
    const found: LayerChoice[][] = cases.map(() => []);
    const options = { rule: dola.step, streams: ['prompt'], maxContext: 512 };
    await expectNoLeak(async () => {
      for await (const events of decode(model, queries, { ...options, stopIds: new Set([END]) })) {
        for (const { query, choice } of events) found[query]!.push(choice);
      }
    });
    expect(found.map((choices) => choices.map(({ id }) => id))).toEqual(
      cases.map(({ ids }) => ids),
    );
    expect(found.map((choices) => choices.map(({ layer }) => layer))).toEqual(
      cases.map(({ chosen }) => chosen),
    );
  });
});
