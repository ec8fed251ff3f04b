import { type Tensor1D, type Tensor2D, tensor1d, tensor2d } from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { expect } from 'vitest';
import {
  STEP_STATS,
  type StepAttrs,
  type StepKinds,
  type StepNumbers,
  step,
  stepDetails,
  stepNumbers,
  stepStatsWidth,
} from '../../kernels/step/index.js';
import { stepReference } from '../../kernels/step/reference.js';
import { expectClose, expectNear } from './close.js';
import type { Random } from './random.js';
import { type OracleStep, oracleStep } from './step-oracle.js';
import { valuesOf } from './tensorflow.js';
import { TOLERANCE } from './tolerances.js';

const MASKED = Number.NEGATIVE_INFINITY;

/** A query: the logits of its streams, its numbers, and the least logit of a mask. */
export interface StepQuery {
  readonly streams: readonly (readonly number[])[];
  readonly numbers: StepNumbers;
  readonly least?: number;
}

export interface StepFound {
  readonly logProbs: number[];
  readonly stats: number[];
}

function runWith<T>(
  queries: readonly StepQuery[],
  body: (tensors: { logits: Tensor2D; numbers: Tensor2D; least: Tensor1D }) => T,
): T {
  const [S, V] = [queries[0]!.streams.length, queries[0]!.streams[0]!.length];
  const B = queries.length;
  const lines = stepNumbers(
    queries.map((query) => query.numbers),
    S,
  );
  const values = Float32Array.from(queries.flatMap(({ streams }) => streams).flat());
  const tensors = {
    logits: tensor2d(values, [S * B, V]),
    numbers: tensor2d(lines, [B, lines.length / B]),
    least: tensor1d(queries.map(({ least }) => least ?? MASKED)),
  };
  const result = body(tensors);
  for (const tensor of Object.values(tensors)) tensor.dispose();
  return result;
}

/** Line by line, what the native form or the reference says of queries. */
function split(queries: readonly StepQuery[], logProbs: number[], stats: number[]): StepFound[] {
  const [V, W] = [logProbs.length / queries.length, stats.length / queries.length];
  return queries.map((_, q) => ({
    logProbs: logProbs.slice(q * V, (q + 1) * V),
    stats: stats.slice(q * W, (q + 1) * W),
  }));
}

/** The native form. */
export function native(queries: readonly StepQuery[], kinds: StepKinds): StepFound[] {
  return runWith(queries, (tensors) => {
    const { logProbs, stats } = step({ ...tensors, ...kinds });
    return split(queries, valuesOf(logProbs), valuesOf(stats));
  });
}

/** The reference. */
export function reference(queries: readonly StepQuery[], kinds: StepKinds): StepFound[] {
  const attrs: StepAttrs = {
    weights: 'fixed',
    mask: 'none',
    maskStream: kinds.anchor,
    temperature: 'fixed',
    details: false,
    ...kinds,
  };
  return runWith(queries, (tensors) => {
    const [logProbs, stats] = stepReference(tensors, attrs);
    return split(queries, valuesOf(logProbs!), valuesOf(stats!));
  });
}

/** Related streams of a query; weights of either sign, one of them 0; numbers of its own. */
export function randomQuery(random: Random, S: number, V: number, maskStream: number): StepQuery {
  const common = random.normals(V, 3);
  const streams = Array.from({ length: S }, () => [...common].map((x) => x + random.normal()));
  const weights = streams.map((_, s) => (s === 2 ? 0 : random.normal() * 0.7));
  const numbers = {
    weights,
    total: random.uniform() < 0.5 ? 1 : random.uniform(),
    t0: 0.5 + random.uniform(),
    sigma: 0.1 + random.uniform(),
    tMin: 0.1,
    weightFloor: 0.2 * random.uniform(),
    alpha: 0.3 * random.uniform(),
    entropyBase: 0.9,
    theta: 0.1 * random.uniform(),
  };
  return { streams, numbers, least: streams[maskStream]![Math.floor(random.uniform() * V)]! };
}

const oracle = ({ streams, numbers, least }: StepQuery, kinds: StepKinds) =>
  oracleStep(
    streams.map((line) => line.map(Math.fround)),
    numbers,
    kinds,
    Math.fround(least ?? MASKED),
  );

/** Holds what was found of a query to the oracle. */
function expectStep({ logProbs, stats }: StepFound, expected: OracleStep, details: boolean): void {
  const S = expected.logZ.length;
  expect(stats.slice(STEP_STATS.badStream, STEP_STATS.logZ)).toEqual([
    expected.badStream,
    expected.badToken,
  ]);
  if (expected.badStream >= 0) {
    expect(logProbs.every((value) => value === 0)).toBe(true);
    return;
  }
  expectClose(logProbs, expected.logProbs, TOLERANCE.kernel);
  expectNear(stats[STEP_STATS.js]!, expected.js, TOLERANCE.js);
  expectNear(stats[STEP_STATS.temperature]! / expected.temperature, 1, TOLERANCE.kernel);
  const logZ = stats.slice(STEP_STATS.logZ, STEP_STATS.logZ + S);
  const size = Math.max(...expected.logZ.map(Math.abs));
  logZ.forEach((value, stream) => {
    const allowed = Math.max(TOLERANCE.kernel * size, TOLERANCE.logZ);
    expectNear(value, expected.logZ[stream]!, allowed);
  });
  expect(stats).toHaveLength(stepStatsWidth(S, details));
  if (!details) return;
  const at = stepDetails(S);
  const scoreSize = Math.max(1, expected.scoreSize);
  expectNear(stats[at.scoreEntropy]!, expected.scoreEntropy, TOLERANCE.entropy * scoreSize);
  expectNear(stats[at.generalJs]!, expected.generalJs, TOLERANCE.js);
  expectNear(stats[at.keptMass]!, expected.keptMass, TOLERANCE.sum);
  expected.entropies.forEach((value, stream) => {
    expectNear(stats[at.entropies + stream]!, value, TOLERANCE.entropy);
  });
  expectClose(stats.slice(at.weights, at.weights + S), expected.weights, TOLERANCE.kernel);
}

/** Both forms of a call, each query against the oracle. */
export function check(queries: readonly StepQuery[], kinds: StepKinds): void {
  const expected = queries.map((query) => oracle(query, kinds));
  for (const form of [native, reference]) {
    const found = form(queries, kinds);
    found.forEach((query, q) => {
      expectStep(query, expected[q]!, kinds.details ?? false);
    });
  }
}

const logit = fc.oneof(
  { weight: 9, arbitrary: fc.integer({ min: -2000, max: 2000 }).map((n) => n / 64) },
  { weight: 1, arbitrary: fc.constantFrom(MASKED, Number.NaN, Number.POSITIVE_INFINITY, -0) },
);
/** Small steps with hard logits, NaN among them. */
export const hardCases = fc
  .tuple(fc.integer({ min: 1, max: 8 }), fc.integer({ min: 1, max: 12 }))
  .chain(([S, V]) => {
    const stream = fc.integer({ min: 0, max: S - 1 });
    const line = fc.array(logit, { minLength: V, maxLength: V });
    return fc.record({
      streams: fc.array(line, { minLength: S, maxLength: S }),
      weights: fc.array(fc.constantFrom(0, 0.5, -0.5, 2, -1), { minLength: S, maxLength: S }),
      kinds: fc.record({
        anchor: stream,
        pair: fc.tuple(stream, stream),
        mask: fc.constantFrom('none', 'least'),
        maskStream: stream,
        temperature: fc.constantFrom('fixed', 'divergence'),
        details: fc.boolean(),
      }),
      least: fc.integer({ min: -30, max: 30 }),
    });
  });
