import { setTimeout as pause } from 'node:timers/promises';
import { mayPass } from './failure.js';

const FIRST_PAUSE_MS = 50;
const LONGEST_PAUSE_MS = 5000;

/** How long errors that may pass are borne: from the first one on, until something comes again. */
export class Patience {
  private since: number | null = null;
  private pauses = 0;

  /** @param ms from the first error to the one that is the last */
  constructor(private readonly ms: number) {}

  /** Whether an error has come, and nothing else since */
  get tried(): boolean {
    return this.since !== null;
  }

  /** What was waited for has come. */
  relieve(): void {
    this.since = null;
    this.pauses = 0;
  }

  /** Whether to go on after an error: it may pass, and has not lasted for too long. */
  bears(error: unknown): boolean {
    this.since ??= Date.now();
    return mayPass(error) && Date.now() - this.since <= this.ms;
  }

  /** Waits, each time longer; an abort by the signal ends it. */
  async wait(signal?: AbortSignal): Promise<void> {
    const ms = Math.min(FIRST_PAUSE_MS * 2 ** this.pauses, LONGEST_PAUSE_MS);
    if (this.tried) this.pauses++;
    await pause(ms, undefined, { signal }).catch(() => {}); // an abort is looked at by the caller
  }
}
