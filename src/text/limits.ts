import { createContext, Script } from 'node:vm';

// What a checkpoint's files bring along runs here: Jinja templates and regular expressions. A loop in the one and
// backtracking in the other can take for ever, on the thread that would have to notice.

const script = new Script('body()');
const context = createContext({ body: null as (() => unknown) | null });

/** Thrown by {@link withinTime}. */
export class OutOfTime extends Error {}

/**
 * Runs synchronous code for at most `limit` milliseconds; costs about 0.1 ms. V8 ends whatever JavaScript is
 * running by then, regular expressions and nested calls included. Where others had the processor meanwhile, the code
 * is run again, from its beginning, and for longer.
 * @throws OutOfTime; what `body` throws
 */
export function withinTime<T>(limit: number, body: () => T): T {
  for (let elapsed = limit; ; elapsed *= 2) {
    const before = process.cpuUsage();
    try {
      return runFor(elapsed, body);
    } catch (error) {
      const { code } = error as { code?: unknown };
      if (code !== 'ERR_SCRIPT_EXECUTION_TIMEOUT') throw error;
      const { user, system } = process.cpuUsage(before); // microseconds
      const had = (user + system) / 1000;
      if (had < HAD * limit && elapsed < MOST_PATIENCE * limit) continue;
      throw new OutOfTime(`it took more than ${limit} ms`);
    }
  }
}

/** The share of its time that a body must have had the processor for, to be told that it is slow. */
const HAD = 0.7;
/** How many times the limit is waited for a processor that others have. */
const MOST_PATIENCE = 8;

function runFor<T>(milliseconds: number, body: () => T): T {
  const outer = context.body;
  context.body = body;
  try {
    return script.runInContext(context, { timeout: milliseconds }) as T;
  } finally {
    context.body = outer;
  }
}

/** Milliseconds that work on a text of so many characters may take: far more than a usable file needs. */
export function timeFor(characters: number): number {
  return 500 + Math.ceil(characters / 20);
}

/** Ids of tokens beyond this are a mistake: the largest vocabularies of today have a million. */
export const MAX_ID = 2 ** 24;
