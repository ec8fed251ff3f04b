import { SdaError } from '../../src/errors.js';
import { outOfRange } from '../ranges.js';
import { STEP_NUMBERS } from './contract.js';

/** What one query says of its step; a kind that is not asked for reads none of its numbers. */
export interface StepNumbers {
  /** u of each stream, how far the score goes towards it (below 0: away); the anchor's own is 0 */
  readonly weights: readonly number[];
  /** Factor of the anchor's log-probability: the sum of all w; default 1 */
  readonly total?: number;
  /** Streams of a weight above 0 are floored here; default -Infinity: what is impossible there stays so */
  readonly positiveFloor?: number;
  /** Base temperature T0, > 0; default 1 */
  readonly t0?: number;
  /** Sensitivity of T to JS, > 0; default Infinity: none */
  readonly sigma?: number;
  /** Lower bound of T, >= 0; default 0 */
  readonly tMin?: number;
  /** Least factor of `js` weights, >= 0; default 0 */
  readonly weightFloor?: number;
  /** Share of the largest probability that the mask `plausible` asks for, 0..1; default 0: none */
  readonly alpha?: number;
  /** N of `entropy`, above 0, at most 1; default 0.8 */
  readonly entropyBase?: number;
  /** theta of `entropy`, >= 0; default 0: T0 */
  readonly theta?: number;
}

const DEFAULTS = {
  total: 1,
  positiveFloor: Number.NEGATIVE_INFINITY,
  t0: 1,
  sigma: Number.POSITIVE_INFINITY,
  tMin: 0,
  weightFloor: 0,
  alpha: 0,
  entropyBase: 0.8,
  theta: 0,
};

const isFinite32 = (v: number) => Math.abs(v) < Infinity;
const FINITE = 'a finite number';
const RANGES: Record<keyof typeof DEFAULTS, [expected: string, holds: (v: number) => boolean]> = {
  total: [FINITE, isFinite32],
  positiveFloor: ['a number of at most 0', (v) => v <= 0],
  t0: ['a number above 0', (v) => v > 0 && v < Infinity],
  sigma: ['a number above 0', (v) => v > 0],
  tMin: ['a number of at least 0', (v) => v >= 0 && v < Infinity],
  weightFloor: ['a number of at least 0', (v) => v >= 0 && v < Infinity],
  alpha: ['a number in 0..1', (v) => v >= 0 && v <= 1],
  entropyBase: ['a number above 0 and at most 1', (v) => v > 0 && v <= 1],
  theta: ['a number of at least 0', (v) => v >= 0 && v < Infinity],
};

const NAMES = Object.keys(DEFAULTS) as (keyof typeof DEFAULTS)[];

/**
 * The lines that `step` takes as `numbers`, one after another: B (9 + S) values for `upload`.
 *
 * @param streams S, the same for all queries
 * @throws SdaError `bad-input` naming the query, the number, its range and its value.
 */
export function stepNumbers(queries: readonly StepNumbers[], streams: number): Float32Array {
  const width = STEP_NUMBERS.weights + streams;
  const lines = new Float32Array(queries.length * width);
  for (const [index, query] of queries.entries()) {
    const at = index * width;
    for (const name of NAMES) {
      const value = query[name] ?? DEFAULTS[name];
      const [expected, holds] = RANGES[name];
      lines[at + STEP_NUMBERS[name]] = value;
      if (!holds(Math.fround(value))) throw outOfRange('step', index, name, expected, value);
    }
    setWeights(lines, at + STEP_NUMBERS.weights, query.weights, streams, index);
  }
  return lines;
}

function setWeights(
  lines: Float32Array,
  at: number,
  weights: readonly number[],
  streams: number,
  query: number,
): void {
  if (weights.length !== streams) {
    throw new SdaError(
      'bad-input',
      `step: query ${query} must have a weight for each of ${streams} streams, but has ${weights.length}.`,
    );
  }
  for (let stream = 0; stream < streams; stream++) {
    lines[at + stream] = weights[stream]!;
    if (isFinite32(lines[at + stream]!)) continue;
    throw outOfRange('step', query, `weights[${stream}]`, FINITE, weights[stream]!);
  }
}
