import { memory, type Tensor2D, tensor2d } from '@tensorflow/tfjs-core';
import { expect } from 'vitest';
import type { BlendChoice, BlendDetails } from '../../src/method/blend.js';
import { readDraw } from '../../src/method/rule.js';
import type { TokenChoice } from '../../src/method/step.js';
import { type Rule, resolveSettingsOf } from '../../src/rules/define.js';
import { TOLERANCE } from '../support/tolerances.js';

/** A query of a step: the logits of its streams, by name, and the rest. */
export interface StepQuery {
  readonly rows: Readonly<Record<string, ArrayLike<number>>>;
  readonly settings?: Readonly<Record<string, unknown>>;
  readonly uniform?: number;
}

/** What any rule says of a token. */
export interface AnyChoice extends Omit<BlendChoice, 'details'> {
  readonly details?: Partial<BlendDetails>;
}

/** Lines S b + s of the queries, in the order of the streams. */
export function logitsOf(streams: readonly string[], queries: readonly StepQuery[]): Tensor2D {
  const lines = queries.flatMap(({ rows }) => streams.map((name) => rows[name]!));
  const V = lines[0]!.length;
  const values = new Float32Array(lines.length * V);
  lines.forEach((line, index) => {
    values.set(line, index * V);
  });
  return tensor2d(values, [lines.length, V]);
}

/** One step of a rule, with the defaults of settings that are left out; leaves no tensor behind. */
export async function drawAll(rule: Rule, queries: readonly StepQuery[]): Promise<AnyChoice[]> {
  const before = memory().numTensors;
  const logits = logitsOf(Object.keys(rule.streams), queries);
  try {
    const drawn = await rule.step(logits, {
      settings: queries.map(({ settings }) => resolveSettingsOf(rule, settings)),
      uniforms: queries.map(({ uniform = 0.5 }) => uniform),
    });
    const choices = 'lines' in drawn ? await readDraw(drawn) : drawn;
    expect(memory().numTensors).toBe(before + 1);
    return choices.map((choice) => asAny(choice as BlendChoice | TokenChoice));
  } finally {
    logits.dispose();
  }
}

function asAny(choice: BlendChoice | TokenChoice): AnyChoice {
  if (!('logpBase' in choice)) return choice;
  const { logpBase, logpInstructed, ...rest } = choice;
  return { ...rest, logps: { base: logpBase, instructed: logpInstructed } };
}

/** That the draw is the token at which the mass of all before it, in order of ids, passes the uniform number. */
export function expectDrawn(
  { id }: Pick<AnyChoice, 'id'>,
  uniform: number,
  logProbs: Float64Array,
): void {
  let before = 0;
  for (let other = 0; other < id; other++) before += Math.exp(logProbs[other]!);
  expect(before).toBeLessThanOrEqual(uniform + TOLERANCE.sum);
  expect(before + Math.exp(logProbs[id]!)).toBeGreaterThanOrEqual(uniform - TOLERANCE.sum);
}
