import { SdaError } from '../errors.js';
import type { Rule } from '../rules/define.js';
import type { GenerateSummary, StepOf } from './types.js';

/** One of several answers to a request, and how likely it was. */
export interface RankedAnswer<R extends Rule> {
  readonly summary: GenerateSummary<R>;
  /** Mean log-probability of its tokens under what they were drawn from, nats */
  readonly meanLogp: number;
}

/**
 * Reads answers to their ends.
 *
 * @param keep how many are returned: those with the largest mean log-probability, the best first; at least 1
 * @throws SdaError `bad-input` for another number; what an answer fails at
 */
export async function bestOf<R extends Rule>(
  answers: readonly AsyncGenerator<StepOf<R>, GenerateSummary<R>>[],
  keep: number,
): Promise<RankedAnswer<R>[]> {
  if (!Number.isInteger(keep) || keep < 1 || keep > answers.length) {
    throw new SdaError(
      'bad-input',
      `Of ${answers.length} answers the best 1..${answers.length} can be kept, but ${keep} are asked for.`,
    );
  }
  const read = await Promise.all(answers.map(ranked));
  return likeliestFirst(read.map(({ meanLogp }) => meanLogp))
    .slice(0, keep)
    .map((index) => read[index]!);
}

async function ranked<R extends Rule>(
  answer: AsyncGenerator<StepOf<R>, GenerateSummary<R>>,
): Promise<RankedAnswer<R>> {
  const logps: number[] = [];
  for (;;) {
    const { value, done } = await answer.next();
    if (done) return { summary: value, meanLogp: meanOf(logps) };
    logps.push(value.logp);
  }
}

/** -Infinity of none: nothing is known of a text without tokens. */
export function meanOf(logps: readonly number[]): number {
  if (logps.length === 0) return Number.NEGATIVE_INFINITY;
  return logps.reduce((sum, logp) => sum + logp, 0) / logps.length;
}

/** The places of these means, the largest first; of equal ones the first. */
export function likeliestFirst(means: readonly number[]): number[] {
  return [...means.keys()].sort((a, b) => (means[a] === means[b] ? a - b : means[b]! - means[a]!));
}
