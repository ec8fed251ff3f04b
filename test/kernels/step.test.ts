import { tensor1d, tensor2d } from '@tensorflow/tfjs-core';
import { describe, expect, test } from 'vitest';
import { type SdaStepArgs, STEP_STATS_WIDTH, sdaStep } from '../../kernels/sda-step/index.js';
import { sdaStepReference } from '../../kernels/sda-step/reference.js';
import { expectClose } from '../support/close.js';
import { Random } from '../support/random.js';
import { errorOf, expectNoLeak, useTensorFlow, valuesOf } from '../support/tensorflow.js';
import { TOLERANCE } from '../support/tolerances.js';

useTensorFlow();

const PAPER = { t0: 0.6, sigma: 0.01, tMin: 0.2, plausibility: 0, base: false };
const VARIANTS: readonly Omit<SdaStepArgs, 'logits' | 'strength'>[] = [
  PAPER,
  { ...PAPER, sigma: 0.5, plausibility: 0.01 },
  { ...PAPER, sigma: Number.POSITIVE_INFINITY, tMin: 0 },
  { ...PAPER, sigma: 1, base: true },
];
const VOCABULARIES = [1, 7, 16, 1000, 32_003, 151_936];

/** Two related streams a query (or one), with a few masked tokens. */
function randomLogits(V: number, queries: number, streams: number): Float32Array {
  const random = new Random(V * 10 + queries);
  const lines = new Float32Array(queries * streams * V);
  for (let query = 0; query < queries; query++) {
    const base = random.normals(V, 3);
    for (let stream = 0; stream < streams; stream++) {
      const line = base.map((value) => value + stream * random.normal());
      // masks at different places in the two streams; token 0 stays
      for (let token = 3 + stream; token < V; token += 11) line[token] = Number.NEGATIVE_INFINITY;
      lines.set(line, (query * streams + stream) * V);
    }
  }
  return lines;
}

function both(values: Float32Array, V: number, strengths: number[], variant: (typeof VARIANTS)[0]) {
  const logits = tensor2d(values, [values.length / V, V]);
  const strength = tensor1d(strengths);
  const found = sdaStep({ logits, strength, ...variant });
  const [logProbs, stats] = sdaStepReference({ logits, strength }, variant);
  for (const tensor of [logits, strength]) tensor.dispose();
  return { found, expected: { logProbs: logProbs!, stats: stats! } };
}

describe.each(VOCABULARIES)('sdaStep is its reference, V = %i', (V) => {
  test.each([
    [1, 1],
    [1, 2],
    [3, 2],
    [3, 1],
  ])('%i queries of %i streams', async (queries, streams) => {
    const values = randomLogits(V, queries, streams);
    const strengths = [0.4, 0, -0.8].slice(0, queries);
    for (const variant of VARIANTS) {
      await expectNoLeak(() => {
        const { found, expected } = both(values, V, strengths, variant);
        expect(found.logProbs.shape).toEqual([queries, V]);
        expect(found.stats.shape).toEqual([queries, STEP_STATS_WIDTH]);
        const [lines, references] = [valuesOf(found.logProbs), valuesOf(expected.logProbs)];
        for (let query = 0; query < queries; query++) {
          const line = (all: number[]) => all.slice(query * V, (query + 1) * V);
          expectClose(line(lines), line(references), TOLERANCE.logProb);
        }
        expectClose(valuesOf(found.stats), valuesOf(expected.stats), TOLERANCE.kernel);
      });
    }
  });
});

describe('sdaStep', () => {
  const { NaN: nan, POSITIVE_INFINITY: inf, NEGATIVE_INFINITY: masked } = Number;
  test.each([
    ['sound', [0, 1, 2, 2, 1, 0], [-1, -1]],
    ['NaN, base', [0, nan, 2, nan, 1, 0], [0, 1]],
    ['NaN, instructed', [0, 1, 2, 2, 1, nan], [1, 2]],
    ['infinite', [inf, nan, 2, 2, 1, 0], [0, 0]],
    ['masked, base', [masked, masked, masked, 2, 1, 0], [0, -1]],
    ['masked, instructed', [1, 1, 1, masked, masked, masked], [1, -1]],
    ['masked and NaN', [masked, masked, nan, 2, 1, 0], [0, 2]],
  ])('marks the first unusable logit: %s', (_, values, expected) => {
    const { found, expected: reference } = both(Float32Array.from(values), 3, [0.4], PAPER);
    expect(valuesOf(found.stats).slice(4)).toEqual(expected);
    expect(valuesOf(reference.stats).slice(4)).toEqual(expected);
    for (const tensor of [found.logProbs, reference.logProbs]) tensor.dispose();
  });

  test('finds a NaN at the very end of a large vocabulary', () => {
    const V = 151_936;
    const values = randomLogits(V, 1, 2);
    values[2 * V - 1] = nan;
    const { found, expected } = both(values, V, [0.4], PAPER);
    expect(valuesOf(found.stats).slice(4)).toEqual([1, V - 1]);
    for (const tensor of [found.logProbs, expected.logProbs, expected.stats]) tensor.dispose();
  });

  test.each([
    [[3, 5], [1], 'sdaStep: logits must have the shape [2, any], but has [3, 5].'],
    [[2, 5], [3], 'sdaStep: logits must have the shape [6, any], but has [2, 5].'],
  ])('names wrong shapes: logits %j, strength %j', async (shape, [queries], message) => {
    const logits = tensor2d(new Float32Array(shape[0]! * shape[1]!), shape as [number, number]);
    const strength = tensor1d(new Float32Array(queries!));
    const error = await errorOf(() => sdaStep({ logits, strength, ...PAPER }));
    expect(error).toMatchObject({ code: 'bad-tensor', message });
    for (const tensor of [logits, strength]) tensor.dispose();
  });
});
