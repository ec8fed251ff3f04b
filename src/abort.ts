import { setMaxListeners } from 'node:events';

/**
 * Calls `stop` when the signal fires, or at once where it has. Many may listen to one signal, a query each: Node then says
 * nothing of a leak.
 *
 * @returns ends the listening
 */
export function onAbort(signal: AbortSignal | undefined, stop: () => void): () => void {
  if (!signal) return () => {};
  if (signal.aborted) {
    stop();
    return () => {};
  }
  setMaxListeners(0, signal);
  signal.addEventListener('abort', stop, { once: true });
  return () => signal.removeEventListener('abort', stop);
}
