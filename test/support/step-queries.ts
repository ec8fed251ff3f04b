import { type Tensor1D, type Tensor2D, tensor1d, tensor2d } from '@tensorflow/tfjs-core';
import {
  type StepAttrs,
  type StepKinds,
  type StepNumbers,
  step,
  stepNumbers,
} from '../../kernels/step/index.js';
import { stepReference } from '../../kernels/step/reference.js';
import type { Random } from './random.js';
import { valuesOf } from './tensorflow.js';

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
    least: tensor1d(queries.map(({ least }) => least ?? Number.NEGATIVE_INFINITY)),
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
