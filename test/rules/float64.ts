/** Distributions in float64, written as textbooks have them. A row is the logits of one stream. */
export type Row = readonly number[] | Float32Array | Float64Array;

const IMPOSSIBLE = Number.NEGATIVE_INFINITY;

export function largest(row: Row): number {
  let top = IMPOSSIBLE;
  for (let i = 0; i < row.length; i++) top = Math.max(top, row[i]!);
  return top;
}

/** log of the sum of exp */
export function logSumExp(row: Row): number {
  const top = largest(row);
  let sum = 0;
  for (let i = 0; i < row.length; i++) sum += Math.exp(row[i]! - top);
  return top + Math.log(sum);
}

/** log softmax(row / tau) */
export function logSoftmax(row: Row, tau = 1): Float64Array {
  const scaled = Float64Array.from(row, (value) => value / tau);
  const logZ = logSumExp(scaled);
  return scaled.map((value) => value - logZ);
}

export const softmax = (row: Row, tau = 1) => logSoftmax(row, tau).map(Math.exp);

/** sum of p log(p / q), nats */
function klDivergence(p: Row, q: Row): number {
  let sum = 0;
  for (let i = 0; i < p.length; i++) if (p[i]! > 0) sum += p[i]! * Math.log(p[i]! / q[i]!);
  return sum;
}

/** Jensen-Shannon divergence of rows with equal weights, nats */
export function jensenShannon(...rows: Row[]): number {
  const ps = rows.map((row) => softmax(row));
  const mean = ps[0]!.map((_, i) => ps.reduce((sum, p) => sum + p[i]!, 0) / ps.length);
  return ps.reduce((sum, p) => sum + klDivergence(p, mean), 0) / ps.length;
}

/** nats */
export function entropy(row: Row): number {
  let sum = 0;
  for (const p of softmax(row)) if (p > 0) sum -= p * Math.log(p);
  return sum;
}

/** What a rule keeps of the tokens, and how near to the bound the nearest token lies, in what is bounded. */
export interface Kept {
  readonly kept: readonly boolean[];
  readonly margin: number;
}

/** Tokens with P of at least alpha times the largest. */
export function plausible(row: Row, alpha: number): Kept {
  const bound = largest(row) + Math.log(alpha);
  return {
    kept: Array.from(row, (value) => value >= bound),
    margin: distance(row, bound),
  };
}

/** How far the nearest finite value is from the bound. */
export function distance(row: Row, bound: number): number {
  let least = Number.POSITIVE_INFINITY;
  for (const value of row) {
    if (Number.isFinite(value)) least = Math.min(least, Math.abs(value - bound));
  }
  return least;
}

/**
 * The fewest likeliest tokens whose mass reaches topP, at a temperature, of what top-k leaves; and all with the logit of
 * the last of them.
 */
export function nucleus(row: Row, { topK = 0, topP = 1, tau = 1 }): Kept {
  const p = softmax(row, tau);
  const all = [...p.keys()].filter((id) => p[id]! > 0);
  all.sort((a, b) => row[b]! - row[a]! || a - b);
  const ids = topK > 0 ? all.slice(0, topK) : all;
  const mass = ids.reduce((sum, id) => sum + p[id]!, 0);
  let [reached, last, margin] = [0, ids.length - 1, Number.POSITIVE_INFINITY];
  for (const [rank, id] of topP < 1 ? ids.entries() : []) {
    reached += p[id]! / mass;
    margin = Math.min(margin, Math.abs(reached - topP));
    if (reached < topP) continue;
    last = rank;
    break;
  }
  const least = row[ids[last]!]!;
  return { kept: Array.from(row, (value) => value >= least), margin };
}

/** The row without what is not kept. */
export const masked = (row: Row, { kept }: Kept) =>
  Float64Array.from(row, (value, id) => (kept[id] ? value : IMPOSSIBLE));
