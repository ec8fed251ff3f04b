import { tensor1d, tensor2d } from '@tensorflow/tfjs-core';
import { beforeEach, describe, expect, test } from 'vitest';
import {
  type Cuts,
  DRAW,
  drawStats,
  type SampleArgs,
  sample,
  sampleSettings,
} from '../../kernels/sample/index.js';
import { sampleReference } from '../../kernels/sample/reference.js';
import { step, stepNumbers, stepStatsWidth } from '../../kernels/step/index.js';
import { expectClose } from '../support/close.js';
import { WITHOUT_NATIVE } from '../support/native.js';
import { Random } from '../support/random.js';
import { errorOf, expectNoLeak, useTensorFlow, valuesOf } from '../support/tensorflow.js';
import { TOLERANCE } from '../support/tolerances.js';

useTensorFlow();

const ALL: Cuts = { topK: 0, topP: 1, minP: 0, greedy: false };
const NEARLY_ONE = 1 - 2 ** -24;

/** What `sample` takes of the cuts of queries: a tensor and their kinds. */
function settingsOf(queries: readonly Partial<Cuts>[]) {
  const { values, kinds } = sampleSettings(queries.map((cuts) => ({ ...ALL, ...cuts })));
  return { settings: tensor2d(values, [queries.length, 4]), ...kinds };
}

/** Draws one id for each uniform from one distribution, as a batch of queries; `cuts` of all, or of each. */
function draws(
  probs: readonly number[],
  uniforms: readonly number[],
  cuts: Partial<Cuts> | readonly Partial<Cuts>[],
): number[] {
  const V = probs.length;
  const B = uniforms.length;
  const line = probs.map(Math.log);
  const logProbs = tensor2d(
    Float32Array.from({ length: B * V }, (_, i) => line[i % V]!),
    [B, V],
  );
  const W = stepStatsWidth(1, false);
  const stats = tensor2d(new Float32Array(B * W), [B, W]);
  const us = tensor1d([...uniforms], 'float32');
  const each = settingsOf(uniforms.map((_, query) => ('at' in cuts ? cuts[query]! : cuts)));
  const draw = sample({ logProbs, logits: logProbs, stats, uniforms: us, ...each });
  const width = draw.shape[1];
  for (const tensor of [logProbs, stats, us, each.settings]) tensor.dispose();
  const values = valuesOf(draw);
  return uniforms.map((_, query) => values[query * width + DRAW.id]!);
}

/** The ids that can be drawn: those of a fine comb of uniforms. */
function kept(probs: readonly number[], cuts: Partial<Cuts>): number[] {
  const comb = Array.from({ length: 1024 }, (_, i) => i / 1024);
  return [...new Set(draws(probs, [...comb, NEARLY_ONE], cuts))].sort((a, b) => a - b);
}

describe('sample', () => {
  const probs = [0.1, 0.4, 0.05, 0.25, 0.2];

  test('takes the first id whose cumulative mass exceeds u', () => {
    const uniforms = [0, 0.09, 0.11, 0.49, 0.51, 0.54, 0.56, 0.79, 0.81, 0.99, NEARLY_ONE];
    expect(draws(probs, uniforms, {})).toEqual([0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 4]);
  });

  test('scales u to the mass of the kept tokens, in order of ids', () => {
    // kept: 1, 3, 4 with 0.4, 0.25, 0.2 of 0.85
    const cuts = { topK: 3 };
    const at = [0.39, 0.41, 0.64, 0.66, 0.84].map((mass) => mass / 0.85);
    expect(draws(probs, [0, ...at, NEARLY_ONE], cuts)).toEqual([1, 1, 3, 3, 4, 4, 4]);
  });

  test.each<[string, Partial<Cuts>, number[]]>([
    ['nothing cut', {}, [0, 1, 2, 3, 4]],
    ['top-k 1', { topK: 1 }, [1]],
    ['top-k 2', { topK: 2 }, [1, 3]],
    ['top-k above V', { topK: 9 }, [0, 1, 2, 3, 4]],
    ['top-p 0 keeps one', { topP: 0 }, [1]],
    ['top-p within the first', { topP: 0.39 }, [1]],
    ['top-p just beyond the first', { topP: 0.41 }, [1, 3]],
    ['top-p 0.8', { topP: 0.8 }, [1, 3, 4]],
    ['top-p 0.9', { topP: 0.9 }, [0, 1, 3, 4]],
    ['top-p 0.99', { topP: 0.99 }, [0, 1, 2, 3, 4]],
    ['min-p 1', { minP: 1 }, [1]],
    ['min-p 0.6: 0.25 is 0.625 of 0.4', { minP: 0.6 }, [1, 3]],
    ['min-p 0.49: 0.2 is half', { minP: 0.49 }, [1, 3, 4]],
    // after top-k the mass is 0.65: 0.4 is 0.615 of it
    ['top-p counts the mass that top-k leaves', { topK: 2, topP: 0.6 }, [1]],
    ['top-k and min-p', { topK: 3, minP: 0.6 }, [1, 3]],
  ])('%s', (_, cuts, expected) => {
    expect(kept(probs, cuts)).toEqual(expected);
  });

  test.each<[string, number[], Partial<Cuts>, number[]]>([
    ['top-k', [0.25, 0.25, 0.25, 0.25], { topK: 2 }, [0, 1]],
    ['top-k below a higher one', [0.2, 0.2, 0.4, 0.2], { topK: 2 }, [0, 2]],
    ['top-p', [0.25, 0.25, 0.25, 0.25], { topP: 0.4 }, [0, 1]],
    ['top-p 0', [0.25, 0.25, 0.25, 0.25], { topP: 0 }, [0]],
    ['min-p keeps all equals', [0.2, 0.4, 0.4], { minP: 1 }, [1, 2]],
    ['top-p, an exact sum', [0.25, 0.25, 0.25, 0.25], { topP: 0.5 }, [0, 1]],
    ['top-p, an exact sum of tenths', Array(10).fill(0.1), { topP: 0.6 }, [0, 1, 2, 3, 4, 5]],
    ['top-p, an exact sum after top-k', Array(10).fill(0.1), { topK: 5, topP: 0.6 }, [0, 1, 2]],
    ['top-p, all but one of 50', Array(50).fill(0.02), { topP: 0.98 }, [...Array(49).keys()]],
    ['min-p, an exact share', [0.4, 0.25, 0.35], { minP: 0.625 }, [0, 1, 2]],
  ])('equals go by the lower id: %s', (_, equal, cuts, expected) => {
    expect(kept(equal, cuts)).toEqual(expected);
  });

  test('greedy takes the likeliest, the lowest id of equals, whatever u and the cuts', () => {
    expect(draws(probs, [0, NEARLY_ONE], { greedy: true, topK: 1 })).toEqual([1, 1]);
    const V = 151_936;
    const flat = Array.from({ length: V }, () => 1 / V);
    expect(draws(flat, [0.7], { greedy: true })).toEqual([0]);
    flat[5_000] = flat[77_777] = flat[151_935] = 2 / V;
    expect(draws(flat, [0.7], { greedy: true })).toEqual([5_000]);
  });

  test('a token without mass is never drawn', () => {
    expect(kept([0, 0.5, 0, 0.5, 0], {})).toEqual([1, 3]);
    expect(kept([0, 0.5, 0, 0.5, 0], { topK: 4 })).toEqual([1, 3]);
    expect(draws([0, 0, 1, 0], [0, 0.5, NEARLY_ONE], {})).toEqual([2, 2, 2]);
    expect(draws([1], [0, NEARLY_ONE], { topP: 0.5, topK: 3, minP: 0.5 })).toEqual([0, 0]);
  });

  test('draws follow the distribution (chi-square)', () => {
    const random = new Random(2024);
    const count = 4000;
    const uniforms = Array.from({ length: count }, () => Math.fround(random.uniform()) % 1);
    const counts = probs.map(() => 0);
    for (const id of draws(probs, uniforms, {})) counts[id]!++;
    const statistic = counts.reduce(
      (sum, seen, id) => sum + (seen - count * probs[id]!) ** 2 / (count * probs[id]!),
      0,
    );
    expect(statistic).toBeLessThan(TOLERANCE.chiSquare4);
  });

  test('a large vocabulary never gives a token outside its nucleus', () => {
    const V = 32_003;
    const random = new Random(5);
    const weights = Array.from({ length: V }, () => Math.exp(3 * random.normal()));
    const total = weights.reduce((a, b) => a + b);
    const large = weights.map((weight) => weight / total);
    const ranked = large.map((_, id) => id).sort((a, b) => large[b]! - large[a]! || a - b);
    let [mass, size] = [0, 0];
    while (mass < 0.5) mass += large[ranked[size++]!]!;
    // one more, as the sum in float32 may end beside the threshold
    const nucleus = new Set(ranked.slice(0, size + 1));
    const uniforms = [0, ...Array.from({ length: 60 }, () => random.uniform() * NEARLY_ONE)];
    const seen = draws(large, [...uniforms, NEARLY_ONE], { topP: 0.5 });
    expect(seen.filter((id) => !nucleus.has(id))).toEqual([]);
    expect(new Set(seen).size).toBeGreaterThan(10);
  });
});

test('queries of one call have cuts of their own, the same draws as alone', () => {
  const probs = [0.1, 0.4, 0.05, 0.25, 0.2];
  const cuts: Partial<Cuts>[] = [{}, { topK: 2 }, { topP: 0.5 }, { greedy: true }, { minP: 0.6 }];
  const uniforms = [0.95, 0.99, 0.1, 0.99, 0.99];
  const together = draws(probs, uniforms, cuts);
  expect(together).toEqual([4, 3, 1, 1, 3]);
  expect(cuts.map((cut, query) => draws(probs, [uniforms[query]!], cut)[0])).toEqual(together);
});

describe.each([1, 7, 1000, 32_003, 151_936])('sample is its reference, V = %i', (V) => {
  beforeEach(({ skip }) => skip(...WITHOUT_NATIVE));
  test.each([
    [1, 2],
    [1, 1],
    [3, 2],
    [2, 3],
    [2, 8],
  ])('%i queries of %i streams', async (queries, S) => {
    const random = new Random(V + queries);
    const values = random.normals(queries * S * V, 4);
    if (V > 3) values[2] = Number.NEGATIVE_INFINITY;
    const cuts: Partial<Cuts>[] = [
      {},
      { greedy: true },
      { topP: 0.95 },
      { topP: 0.3 },
      { topK: 5, topP: 0.9 },
      { topK: 50, minP: 0.1 },
      { minP: 0.3 },
    ];
    for (const [index, cut] of cuts.entries()) {
      await expectNoLeak(() => {
        const tensors = stepOf(values, queries, S, V, index % 2 === 0);
        const uniforms = tensor1d(Float32Array.from({ length: queries }, () => random.uniform()));
        // each query has another cut where there are several
        const { settings, ...kinds } = settingsOf(
          Array.from({ length: queries }, (_, q) =>
            q === 0 ? cut : cuts[(index + q) % cuts.length]!,
          ),
        );
        const found = sample({ ...tensors, settings, uniforms, ...kinds });
        const [expected] = sampleReference({ ...tensors, settings, uniforms }, kinds);
        const W = tensors.stats.shape[1]!;
        expect(found.shape).toEqual([queries, 2 + S + W]);
        const stats = valuesOf(tensors.stats);
        for (const tensor of [tensors.logits, tensors.logProbs, settings, uniforms])
          tensor.dispose();
        const [lines, references] = [valuesOf(found), valuesOf(expected!)];
        for (let query = 0; query < queries; query++) {
          const row = lines.slice(query * (2 + S + W), (query + 1) * (2 + S + W));
          const reference = references.slice(query * (2 + S + W), (query + 1) * (2 + S + W));
          expect(row[DRAW.id]).toBe(reference[DRAW.id]);
          expect(row.slice(drawStats(S))).toEqual(stats.slice(query * W, (query + 1) * W));
          expectClose(row.slice(1), reference.slice(1), TOLERANCE.kernel);
        }
      });
    }
  });
});

/** Logits with a step's distribution and statistics. */
function stepOf(values: Float32Array, queries: number, S: number, V: number, details: boolean) {
  const weights = Array.from({ length: S }, (_, s) => (s === S - 1 ? 0 : -0.4));
  const numbers = stepNumbers(Array(queries).fill({ weights, t0: 0.6 }), S);
  const logits = tensor2d(values, [queries * S, V]);
  const lines = tensor2d(numbers, [queries, numbers.length / queries]);
  const found = step({ logits, numbers: lines, anchor: S - 1, pair: [0, S - 1], details });
  lines.dispose();
  return { logits, ...found };
}

test('sample names wrong shapes', async () => {
  const logits = tensor2d(new Float32Array(8), [2, 4]);
  const narrow = tensor2d(new Float32Array(6), [2, 3]);
  const nine = tensor2d(new Float32Array(36), [9, 4]);
  const logProbs = tensor2d(new Float32Array(4), [1, 4]);
  const stats = tensor2d(new Float32Array(6), [1, 6]);
  const uniforms = tensor1d([0.5]);
  const two = tensor1d([0.5, 0.5]);
  const each = settingsOf([{}]);
  const messageOf = async (wrong: Partial<SampleArgs>) =>
    errorOf(() => sample({ logProbs, logits, stats, uniforms, ...each, ...wrong }));
  const expected = (message: string) => ({ code: 'bad-tensor', message });
  expect(await messageOf({ logits: narrow })).toMatchObject(
    expected('sample: logits must have the shape [any, 4], but has [2, 3].'),
  );
  expect(await messageOf({ logits: nine })).toMatchObject(
    expected(
      'sample: logits must have 1 to 8 lines for each of 1 queries, but have the shape [9, 4].',
    ),
  );
  expect(await messageOf({ uniforms: two })).toMatchObject(
    expected('sample: uniforms must have the shape [1], but has [2].'),
  );
  expect(await messageOf({ stats: logProbs })).toMatchObject(
    expected('sample: stats must have the shape [1, 13], but has [1, 4].'),
  );
  expect(await messageOf({ settings: stats })).toMatchObject(
    expected('sample: settings must have the shape [1, 4], but has [1, 6].'),
  );
  for (const tensor of [logits, narrow, nine, logProbs, stats, uniforms, two, each.settings]) {
    tensor.dispose();
  }
});

test.each([
  [{ topK: -1 }, 'topK of query 1 must be a whole number in 0..16777216, but is -1'],
  [{ topK: 2.5 }, 'topK of query 1 must be a whole number in 0..16777216, but is 2.5'],
  [{ topP: 1.2 }, 'topP of query 1 must be a number in 0..1, but is 1.2'],
  [{ minP: Number.NaN }, 'minP of query 1 must be a number in 0..1, but is NaN'],
])('sampleSettings names what is out of its range: %j', async (wrong, message) => {
  const error = await errorOf(() => sampleSettings([ALL, { ...ALL, ...wrong }]));
  expect(error).toMatchObject({ code: 'bad-input', message: `sample: ${message}.` });
});
