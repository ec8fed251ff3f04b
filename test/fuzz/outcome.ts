import { SdaError } from '../../src/errors.js';
import { Dice } from './mutate.js';

/** Multiplies the number of cases; `npm run fuzz` sets it. */
const FACTOR = Number(process.env.SDA_FUZZ_FACTOR ?? 1);
/** The first seed; another one gives other cases. */
const SEED = Number(process.env.SDA_FUZZ_SEED ?? 1);
/** A case may take this long, in milliseconds. */
const MOST_MS = 1000;

/** Cases that were run, and how many of them were accepted. */
export const tally = { cases: 0, accepted: 0 };

/**
 * Runs `body` on `count` seeds. Each case must end well, or with an SdaError of one sentence, within a second.
 * @throws Error that names the seed of the case that did not
 */
export async function fuzz(
  count: number,
  body: (dice: Dice) => unknown | Promise<unknown>,
): Promise<{ accepted: number }> {
  let accepted = 0;
  for (let i = 0; i < Math.ceil(count * FACTOR); i++) {
    const seed = SEED * 1_000_003 + i;
    const start = performance.now();
    try {
      await body(new Dice(seed));
      accepted++;
    } catch (error) {
      const fault = faultOf(error);
      if (fault) throw new Error(`case ${i} (SDA_FUZZ_SEED=${SEED}): ${fault}`, { cause: error });
    }
    const took = performance.now() - start;
    if (took > MOST_MS) throw new Error(`case ${i} (SDA_FUZZ_SEED=${SEED}) took ${took} ms`);
    tally.cases++;
  }
  tally.accepted += accepted;
  return { accepted };
}

function faultOf(error: unknown): string | null {
  if (!(error instanceof SdaError)) return `${String(error)} is no SdaError`;
  const { message } = error;
  if (!/\.$/.test(message)) return `the message does not end with a full stop: ${message}`;
  if (/\n\s+at /.test(message)) return `the message holds a stack: ${message}`;
  if (/undefined|\[object Object\]/.test(message)) return `the message is no sentence: ${message}`;
  if (message.length > 3000) return `the message has ${message.length} characters`;
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
