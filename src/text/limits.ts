import { createContext, Script } from 'node:vm';

// What a checkpoint's files bring along runs here: Jinja templates and regular expressions. A loop in the one and
// backtracking in the other can take for ever, on the thread that would have to notice.

const script = new Script('body()');
const context = createContext({ body: null as (() => unknown) | null });

/** Thrown by {@link withinTime}. */
export class OutOfTime extends Error {}

/**
 * Runs synchronous code for at most `limit` milliseconds; costs about 0.1 ms. V8 ends whatever JavaScript is
 * running by then, regular expressions and nested calls included.
 * @throws OutOfTime; what `body` throws
 */
export function withinTime<T>(limit: number, body: () => T): T {
  const outer = context.body;
  context.body = body;
  try {
    return script.runInContext(context, { timeout: limit }) as T;
  } catch (error) {
    const { code } = error as { code?: unknown };
    if (code !== 'ERR_SCRIPT_EXECUTION_TIMEOUT') throw error;
    throw new OutOfTime(`it took more than ${limit} ms`);
  } finally {
    context.body = outer;
  }
}

/** Milliseconds that work on a text of so many characters may take: far more than a usable file needs. */
export function timeFor(characters: number): number {
  return 500 + Math.ceil(characters / 20);
}
