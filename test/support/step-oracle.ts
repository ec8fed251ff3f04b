import type { StepKinds, StepNumbers } from '../../kernels/step/index.js';

/** One query's step in float64, as its documentation writes it. */
export interface OracleStep {
  readonly badStream: number;
  readonly badToken: number;
  readonly logProbs: number[];
  readonly js: number;
  readonly temperature: number;
  readonly logZ: number[];
  /** The largest score in magnitude among those that matter: float32 rounding scales with it */
  readonly scoreSize: number;
  readonly scoreEntropy: number;
  readonly generalJs: number;
  readonly keptMass: number;
  readonly entropies: number[];
  readonly weights: number[];
}

const FLOOR = -1e4;

const largestOf = (values: Iterable<number>) => {
  let largest = Number.NEGATIVE_INFINITY;
  for (const value of values) largest = Math.max(value, largest);
  return largest;
};

function logSumExp(values: readonly number[], divisor = 1): number {
  const largest = largestOf(values);
  let sum = 0;
  for (const value of values) sum += Math.exp((value - largest) / divisor);
  return largest / divisor + Math.log(sum);
}

/** x log y, 0 for x = 0 */
const times = (x: number, y: number) => (x === 0 ? 0 : x * y);

function entropyOf(logProbs: readonly number[]): number {
  let sum = 0;
  for (const value of logProbs) sum -= times(Math.exp(value), value);
  return Math.max(sum, 0);
}

/** Mean of KL(P_i || M), M the mean of all */
function divergenceOf(streams: readonly (readonly number[])[]): number {
  let sum = 0;
  for (let token = 0; token < streams[0]!.length; token++) {
    let mean = 0;
    for (const line of streams) mean += Math.exp(line[token]!) / streams.length;
    for (const line of streams) {
      const p = Math.exp(line[token]!);
      sum += times(p, line[token]! - Math.log(mean)) / streams.length;
    }
  }
  return Math.max(sum, 0);
}

function firstBad(streams: readonly (readonly number[])[]): [stream: number, token: number] {
  for (const [stream, line] of streams.entries()) {
    const token = line.findIndex((x) => Number.isNaN(x) || x === Number.POSITIVE_INFINITY);
    if (token >= 0 || !line.some(Number.isFinite)) return [stream, token];
  }
  return [-1, -1];
}

const NOTHING = {
  logProbs: [],
  js: 0,
  temperature: 0,
  logZ: [],
  scoreSize: 0,
  scoreEntropy: 0,
  generalJs: 0,
  keptMass: 0,
  entropies: [],
  weights: [],
};

/** @param streams S lines of V logits; `least`: of a mask by logits. */
export function oracleStep(
  streams: readonly (readonly number[])[],
  numbers: StepNumbers,
  kinds: StepKinds,
  least = Number.NEGATIVE_INFINITY,
): OracleStep {
  const [badStream, badToken] = firstBad(streams);
  if (badStream >= 0) return { badStream, badToken, ...NOTHING };
  const S = streams.length;
  const { anchor, pair, maskStream = anchor } = kinds;
  const { total = 1, positiveFloor = Number.NEGATIVE_INFINITY, alpha = 0 } = numbers;
  const logZ = streams.map((line) => logSumExp(line));
  const logs = streams.map((line, stream) => line.map((x) => x - logZ[stream]!));
  const js = divergenceOf([logs[pair[0]]!, logs[pair[1]]!]);
  const factor = kinds.weights === 'js' ? Math.max(js, numbers.weightFloor ?? 0) : 1;
  const pulls = numbers.weights.map((weight, stream) => (stream === anchor ? 0 : weight * factor));

  const bound = largestOf(logs[maskStream]!) + Math.log(alpha);
  const keeps = (token: number) => {
    if (kinds.mask === 'plausible') return logs[maskStream]![token]! >= bound;
    return kinds.mask !== 'least' || streams[maskStream]![token]! >= least;
  };
  const score = logs[anchor]!.map((from, token) => {
    if (from === Number.NEGATIVE_INFINITY || !keeps(token)) return Number.NEGATIVE_INFINITY;
    let sum = total * from;
    for (const [stream, weight] of pulls.entries()) {
      const floor = weight < 0 ? FLOOR : positiveFloor;
      if (weight !== 0) sum += weight * (Math.max(logs[stream]![token]!, floor) - from);
    }
    return sum;
  });
  if (!Number.isFinite(largestOf(score))) return { badStream: S, badToken: -1, ...NOTHING };

  const plain = logSumExp(score);
  const scoreEntropy = entropyOf(score.map((value) => value - plain));
  const temperature = temperatureOf(numbers, kinds, js, scoreEntropy);
  const norm = logSumExp(score, temperature);
  const rest = pulls.reduce((sum, weight) => sum - weight, total);
  return {
    badStream,
    badToken,
    logProbs: score.map((value) => value / temperature - norm),
    js,
    temperature,
    logZ,
    scoreSize: Math.abs(largestOf(score)),
    scoreEntropy,
    generalJs: divergenceOf(logs),
    keptMass: logs[maskStream]!.reduce(
      (sum, l, token) => (keeps(token) ? sum + Math.exp(l) : sum),
      0,
    ),
    entropies: logs.map(entropyOf),
    weights: pulls.map((weight, stream) => (stream === anchor ? rest : weight)),
  };
}

function temperatureOf(
  numbers: StepNumbers,
  kinds: StepKinds,
  js: number,
  entropy: number,
): number {
  const { t0 = 1, sigma = Number.POSITIVE_INFINITY, tMin = 0 } = numbers;
  const { entropyBase = 0.8, theta = 0 } = numbers;
  if (kinds.temperature === 'divergence') return Math.max(tMin, t0 * 0.5 ** (js / sigma));
  if (kinds.temperature !== 'entropy') return t0;
  return Math.max(tMin, 1e-6, theta === 0 ? t0 : t0 * entropyBase ** (theta / entropy));
}
