import { DRAW, drawStats } from '../../../kernels/sample/index.js';
import { STEP_STATS, stepDetails, stepStatsWidth } from '../../../kernels/step/index.js';
import type { BlendPlan } from '../../method/blend.js';

/** "Logits" that mark a token: see sda_vllm/carrying.py. */
const MARK = 2 ** 126;
const LONE = 2 ** 125;
const NEGATIVE = 2 ** 90;
const MINUS_INFINITY = 2 ** 122;
/** Numbers of a step before those of the streams: JS, T, the unusable stream and token, log P' */
const OF_STEP = 5;
/** Numbers that a probe brings */
const OF_PROBE = 5;

/** What one stream says of a token. */
export interface Told {
  readonly id: number;
  /** 'drawn' for the whole group; 'lone' where that was not whole; 'foreign' where no step of this package has run */
  readonly kind: 'drawn' | 'lone' | 'foreign';
  /** Numbers of the step that this stream carries */
  readonly values: readonly number[];
}

/** How many likeliest tokens a request asks the logits of: the token, and a carrier for each number. */
export const logprobsFor = (count: number) => count + 1;
export const PROBE_LOGPROBS = logprobsFor(OF_PROBE);

/** The numbers that each stream of a plan carries. */
export function countOf(streams: number, { kinds }: BlendPlan): number {
  const numbers = OF_STEP + streams + (kinds.details ? 3 + 2 * streams : 0);
  return Math.ceil(numbers / streams);
}

/**
 * Reads the "logits" of a token and of the carriers beside it.
 *
 * @param logits by `token_id:ID`, as `return_tokens_as_token_ids` has it
 * @param count of values
 */
export function toldOf(id: number, logits: Readonly<Record<string, number>>, count: number): Told {
  const own = logits[`token_id:${id}`];
  const kind = own === MARK ? 'drawn' : own === LONE ? 'lone' : 'foreign';
  if (kind !== 'drawn') return { id, kind, values: [] };
  const values = Array.from({ length: count }, (_, index) => {
    const coded = logits[`token_id:${index < id ? index : index + 1}`];
    return coded === undefined ? Number.NaN : numberOf(coded);
  });
  return { id, kind, values };
}

/** What a probe says: protocol, ids, tensor and pipeline ranks, places; null of a server without the plugin. */
export function probedOf(
  id: number,
  logits: Readonly<Record<string, number>>,
): readonly number[] | null {
  const told = toldOf(id, logits, OF_PROBE);
  return told.kind === 'drawn' ? told.values : null;
}

function numberOf(coded: number): number {
  if (coded === MINUS_INFINITY) return Number.NEGATIVE_INFINITY;
  return coded >= 2 ** 31 ? -coded / NEGATIVE : coded;
}

/**
 * The line that the kernel `sample` would have given, from what all streams say of one token.
 *
 * @returns float32, see `DRAW`; log Z of the streams, which only the kernels need, are 0
 */
export function lineOf(told: readonly Told[], { kinds }: BlendPlan): Float32Array {
  const S = told.length;
  const details = kinds.details ?? false;
  const value = (index: number) => told[index % S]!.values[Math.floor(index / S)]!;
  const stats = drawStats(S);
  const line = new Float32Array(stats + stepStatsWidth(S, details));
  line[DRAW.id] = told[0]!.id;
  for (const [index, column] of [
    STEP_STATS.js,
    STEP_STATS.temperature,
    STEP_STATS.badStream,
    STEP_STATS.badToken,
  ].entries()) {
    line[stats + column] = value(index);
  }
  line[DRAW.logp] = value(4);
  for (let stream = 0; stream < S; stream++) line[DRAW.streams + stream] = value(OF_STEP + stream);
  if (details) {
    const first = stats + stepDetails(S).scoreEntropy;
    for (let at = 0; at < 3 + 2 * S; at++) line[first + at] = value(OF_STEP + S + at);
  }
  return line;
}
