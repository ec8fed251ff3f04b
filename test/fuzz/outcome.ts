import { expect } from 'vitest';
import { SdaError } from '../../src/errors.js';
import { Dice } from './mutate.js';

/** Multiplies the number of cases; `npm run fuzz` sets it. */
const FACTOR = Number(process.env.SDA_FUZZ_CASES ?? 1);
/** The first seed; another one gives other cases. */
const SEED = Number(process.env.SDA_FUZZ_SEED ?? 1);
/** The only case to run, as a failure prints it. */
const ONLY = process.env.SDA_FUZZ_CASE;
/** A case, or a part of it between two laps, may take this long, in milliseconds. */
const MOST_MS = 1000;

/** Cases that were run, and how many of them were accepted. */
export const tally = { cases: 0, accepted: 0 };

/** One case: its choices, and a clock that `lap` starts again for its next part. */
export interface Case {
  readonly dice: Dice;
  lap(): void;
}

/**
 * Runs `body` on `count` seeds. Each case must end well, or within a second with an SdaError of one printable sentence
 * that names the file (holds one of `names`).
 * @throws Error that names the seed of the case that did not
 */
export async function fuzz(
  count: number,
  names: readonly string[],
  body: (dice: Dice, current: Case) => unknown | Promise<unknown>,
): Promise<{ accepted: number }> {
  let accepted = 0;
  for (let i = 0; i < Math.ceil(count * FACTOR); i++) {
    if (ONLY !== undefined && i !== Number(ONLY)) continue;
    const seed = SEED * 1_000_003 + i;
    let { error, slowest } = await run(seed, body);
    // another process may have had the processor: only what is slow twice is slow
    if (slowest > MOST_MS) ({ error, slowest } = await run(seed, body));
    const fault =
      slowest > MOST_MS ? `took ${Math.round(slowest)} ms` : error && faultOf(error, names);
    if (fault) {
      throw new Error(`SDA_FUZZ_SEED=${SEED} SDA_FUZZ_CASE=${i}: ${fault}`, { cause: error });
    }
    if (error === undefined) accepted++;
    tally.cases++;
  }
  tally.accepted += accepted;
  return { accepted };
}

/** Whether so many cases of a whole run must be accepted: of a single case, none. */
export function expectAccepted(accepted: number, least: number): void {
  if (ONLY === undefined) expect(accepted).toBeGreaterThan(least * Math.min(1, FACTOR));
}

async function run(seed: number, body: (dice: Dice, current: Case) => unknown) {
  const dice = new Dice(seed);
  let slowest = 0;
  let start = performance.now();
  const lap = () => {
    slowest = Math.max(slowest, performance.now() - start);
    start = performance.now();
  };
  let error: unknown;
  try {
    await body(dice, { dice, lap });
  } catch (thrown) {
    error = thrown ?? new Error('nothing was thrown');
  }
  lap();
  return { error, slowest };
}

/** What is wrong with an error that a hostile file ends in, or null. */
export function faultOf(error: unknown, names: readonly string[]): string | null {
  if (!(error instanceof SdaError)) return `${String(error)} is no SdaError`;
  const { message } = error;
  if (!/\S.*\.$/u.test(message)) return `the message is no sentence: ${message}`;
  if (/\p{Cc}/u.test(message)) return `the message is not printable: ${JSON.stringify(message)}`;
  if (/ at \S+ \(.*:\d+:\d+\)/.test(message)) return `the message holds a stack: ${message}`;
  if (/\bundefined\b|\[object /.test(message)) return `the message is no sentence: ${message}`;
  if (message.length > 3000) return `the message has ${message.length} characters`;
  if (!names.some((name) => message.includes(name))) return `it names no file: ${message}`;
  return null;
}

/** Records the largest buffer that `body` makes, in bytes. */
export async function largestBuffer(body: () => Promise<unknown>): Promise<number> {
  let largest = 0;
  const original = globalThis.Uint8Array;
  globalThis.Uint8Array = new Proxy(original, {
    construct(target, [first, ...rest], newTarget) {
      if (typeof first === 'number') largest = Math.max(largest, first);
      return Reflect.construct(
        target,
        [first, ...rest],
        newTarget === globalThis.Uint8Array ? target : newTarget,
      );
    },
  });
  try {
    await body();
  } finally {
    globalThis.Uint8Array = original;
  }
  return largest;
}
