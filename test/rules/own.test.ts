import { add, mul, scalar, sub, type Tensor1D, tensor1d } from '@tensorflow/tfjs-core';
import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { SdaError } from '../../src/errors.js';
import { cad } from '../../src/rules/cad.js';
import { coiecd } from '../../src/rules/coiecd.js';
import type { Rule } from '../../src/rules/define.js';
import { type HostScore, hostRule } from '../../src/rules/host.js';
import { scoreRule } from '../../src/rules/score.js';
import { weighted } from '../../src/rules/weighted.js';
import { expectNear } from '../support/close.js';
import { Random } from '../support/random.js';
import { errorOf, useTensorFlow, valuesOf } from '../support/tensorflow.js';
import { TOLERANCE } from '../support/tolerances.js';
import { drawAll } from './draws.js';
import { MASKED, rowsOf } from './rows.js';

useTensorFlow();

const what = { name: 'own', title: 'own', formula: 'own', source: 'own' };
const streams = { context: { adds: 'instruction' }, plain: {} } as const;
const settings = { alpha: z.number().default(0.5) };

/** Context-aware decoding, in both ways of writing a rule oneself. */
const inTensors = scoreRule({
  ...what,
  streams,
  settings,
  anchor: 'context',
  score: ({ context, plain }, { alpha }) =>
    add(weighted(context, 1 + alpha), weighted(plain, -alpha)),
});
const onHost = hostRule({
  ...what,
  streams,
  settings,
  anchor: 'context',
  score: ({ context, plain }, { alpha }) =>
    context.map((c, id) => (1 + alpha) * c - alpha * Math.max(plain[id]!, -1e4)),
});

const V = 211;
const rowsFor = (seed: number) =>
  rowsOf(new Random(seed), ['context', 'plain'], {
    V,
    kind: (['of other offsets', 'impossible in the anchor', 'with ties'] as const)[seed % 3]!,
    anchor: 'context',
  });
const queries = Array.from({ length: 9 }, (_, i) => ({
  rows: rowsFor(i),
  settings: { alpha: i / 4, temperature: 0.5 + i / 8, topK: i, details: true },
  uniform: (i + 0.5) / 9,
}));

describe.each([
  ['in tfjs operations', inTensors as Rule],
  ['on the host', onHost as Rule],
])('a rule %s', (_, rule) => {
  test('draws and says what the same blend does', async () => {
    const expected = await drawAll(cad, queries);
    const found = await drawAll(rule, queries);
    found.forEach((choice, index) => {
      const other = expected[index]!;
      expect(choice.id).toBe(other.id);
      expectNear(choice.logp, other.logp, TOLERANCE.logProb * Math.max(1, Math.abs(other.logp)));
      expect(choice.temperature).toBe(other.temperature);
      expect(choice.js).toBe(other.js);
      expect(choice.logps).toEqual(other.logps);
      expect(choice.details!.entropies).toEqual(other.details!.entropies);
      expect(choice.details!.generalJs).toBe(other.details!.generalJs);
      expect(Object.keys(choice.details!)).not.toContain('weights'); // it has none
    });
  });

  test('has the same bits for a query alone and in a batch', async () => {
    const together = await drawAll(rule, queries);
    for (const [index, query] of queries.entries()) {
      expect(await drawAll(rule, [query])).toEqual([together[index]]);
    }
  });

  test.each([
    ['context', Number.NaN, 'of token 5 is NaN or infinite in the context stream of query 1'],
    [
      'plain',
      Number.POSITIVE_INFINITY,
      'of token 5 is NaN or infinite in the plain stream of query 1',
    ],
  ])('names the %s stream where it holds %s', async (stream, value, sentence) => {
    const [good, bad] = [rowsFor(2), rowsFor(2)] as [
      Record<string, Float32Array>,
      Record<string, Float32Array>,
    ];
    bad[stream]![5] = value;
    const error = (await errorOf(() => drawAll(rule, [{ rows: good }, { rows: bad }]))) as SdaError;
    expect(error).toBeInstanceOf(SdaError);
    expect(error.code).toBe('bad-logits');
    expect(error.message).toContain(sentence);
  });

  test('names the stream whose row holds nothing', async () => {
    const rows = { context: rowsFor(2).context, plain: new Float32Array(V).fill(MASKED) };
    const error = (await errorOf(() => drawAll(rule, [{ rows }]))) as SdaError;
    expect(error.message).toMatch(/row holds no finite value in the plain stream of query 0/);
  });
});

/** The message of a step of a rule that scores so. */
async function complaint(rule: Rule): Promise<string> {
  const error = await errorOf(() => drawAll(rule, [{ rows: rowsFor(2) }, { rows: rowsFor(2) }]));
  expect(error).toBeInstanceOf(SdaError);
  expect(error.message).toMatch(/^[A-Z][^\n]*\.$/);
  return error.message;
}

describe('scores that cannot be drawn from', () => {
  const scoring = (score: (context: Tensor1D, plain: Tensor1D) => ReturnType<typeof add>) =>
    scoreRule({
      ...what,
      streams,
      settings,
      anchor: 'context',
      score: ({ context, plain }) => score(context, plain),
    }) as Rule;
  const answering = (answer: unknown) =>
    hostRule({
      ...what,
      streams,
      settings,
      anchor: 'context',
      score: () => answer as HostScore,
    }) as Rule;

  test('NaN, named by its token', async () => {
    const one = (value: number) =>
      tensor1d(Array.from({ length: V }, (_, i) => (i === 7 ? value : 0)));
    for (const value of [Number.NaN, Number.POSITIVE_INFINITY]) {
      const expected = /rule own scores token 7 of query 0 as NaN or Infinity/;
      expect(await complaint(scoring(() => one(value)))).toMatch(expected);
      const scores = new Float32Array(V).fill(0).fill(value, 7, 8);
      expect(await complaint(answering(scores))).toMatch(expected);
    }
  });

  test('nothing possible', async () => {
    const expected = /rule own leaves query 0 no token: what the stream context finds possible/;
    expect(await complaint(scoring((c) => mul(c, scalar(Number.POSITIVE_INFINITY))))).toMatch(
      expected,
    );
    expect(await complaint(answering(new Float32Array(V).fill(MASKED)))).toMatch(expected);
  });

  test.each([
    [
      'another length',
      () => tensor1d([1, 2, 3]),
      /float32 \[211\], one for each token, but is float32 \[3\]/,
    ],
    ['a number', () => scalar(3), /but is float32 \[\]/],
    ['whole numbers', () => tensor1d(Array(V).fill(1), 'int32'), /but is int32 \[211\]/],
  ])('tensors of %s', async (_, score, pattern) => {
    expect(await complaint(scoring(score))).toMatch(pattern);
  });

  test.each([
    [211, /names the token 211 for query 0, but ids are 0\.\.210/],
    [-1, /names the token -1/],
    [1.5, /names the token 1\.5/],
    [Number.NaN, /names the token NaN/],
    [[1, 2], /gives 2 scores for query 0: give a token id, or 211 scores/],
    [undefined, /gives undefined for query 0/],
    ['5', /gives 5 for query 0/],
    [null, /gives null for query 0/],
  ])('answers such as %s', async (answer, pattern) => {
    expect(await complaint(answering(answer))).toMatch(pattern);
  });

  test('what is impossible in the anchor needs no care', async () => {
    const rows = rowsFor(1); // -Infinity - -Infinity where both are impossible
    rows.plain.set(rows.context.map((value, id) => (value === MASKED ? MASKED : rows.plain[id]!)));
    const rule = scoring((c, p) => add(c, sub(c, p)));
    const [choice] = await drawAll(rule, [{ rows }]);
    expect(rows.context[choice!.id]).toBeGreaterThan(MASKED);
  });
});

describe('a host rule', () => {
  test('may name the token itself, draw by its uniform number, wait, and keep state', async () => {
    const counts = new Map<number, number>();
    const rule = hostRule({
      ...what,
      streams,
      settings,
      anchor: 'context',
      begin: (query) => counts.set(query, 0),
      end: (query) => counts.delete(query),
      score: async ({ context }, _, { query, uniform }) => {
        await new Promise((resolve) => setTimeout(resolve, 1));
        counts.set(query, (counts.get(query) ?? 0) + 1);
        context.fill(0); // its own copy
        return Math.floor(uniform * V);
      },
    });
    const asked = [0.1, 0.7].map((uniform) => ({ rows: rowsFor(2), uniform }));
    for (const query of [0, 1]) rule.step.begin!(query, { alpha: 1 } as never);
    const [first, second] = await drawAll(rule, asked);
    expect([first!.id, second!.id]).toEqual([21, 147]);
    expect([first!.logp, second!.logp]).toEqual([0, 0]);
    expect([...counts]).toEqual([...[[0, 1]], [1, 1]]);
    const [plainly] = await drawAll(cad, [asked[0]!]);
    expect(first!.js).toBe(plainly!.js);
    for (const query of [0, 1]) rule.step.end!(query);
    expect(counts.size).toBe(0);
  });

  test('whose callback throws leaves nothing on the device, and its error as it is', async () => {
    const rule = hostRule({
      ...{ ...what, streams, settings },
      anchor: 'context',
      score: () => {
        throw new RangeError('mine');
      },
    });
    expect(await errorOf(() => drawAll(rule, [{ rows: rowsFor(0) }]))).toEqual(
      new RangeError('mine'),
    );
  });
});

test('COIECD with alpha below 1 leaves memory no token that it finds impossible', async () => {
  const context = [0, -1, -5, -6, -7, -5.5, -30];
  const plain = [0, -1, -2, MASKED, -4, MASKED, -5]; // ids 3 and 5 start from memory
  const uniforms = Array.from({ length: 40 }, (_, i) => (i + 0.5) / 40);
  const own = { alpha: 0.5, greedy: false, temperature: 3 };
  const found = await drawAll(
    coiecd,
    uniforms.map((uniform) => ({ rows: { context, plain }, settings: own, uniform })),
  );
  expect(found.some(({ id }) => id === 2)).toBe(true);
  for (const { id } of found) expect(plain[id]).toBeGreaterThan(MASKED);
});

test('weighted takes nothing times -Infinity for nothing, and floors what it steers away from', () => {
  const logP = tensor1d([-1, MASKED]);
  const of = (weight: number) => valuesOf(weighted(logP, weight));
  expect(of(0)).toEqual([0, 0]);
  expect(of(2)).toEqual([-2, MASKED]);
  expect(of(-2)).toEqual([2, 20_000]);
  logP.dispose();
});
