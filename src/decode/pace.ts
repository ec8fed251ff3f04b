import { PREFILL_CHUNK } from './streams.js';

/** Fewer tokens take as long as these. */
export const LEAST_TOKENS = 8;
/** Tokens of prompts before anything has been measured. */
const FIRST = 2 * LEAST_TOKENS;
/** Tokens where nobody is kept waiting: those that come at once begin together. */
export const UNDISTURBED = 4 * PREFILL_CHUNK;
/** What prompts may take of a turn, in steps: with the step itself, a query waits 2.25 of its steps for a token. */
const SHARE = 1.25;
/** One turn of so many belongs to the step alone, which shows how long it takes by itself. */
const ALONE = 8;

/**
 * How many tokens of prompts come in between two steps, so that running queries hardly notice: what has been measured says
 * how long a step takes, and how much longer a turn with so many tokens.
 */
export class Pace {
  private tokens = FIRST;
  private stepMs: number | undefined;
  private turns = 0;

  /**
   * Tokens for the coming turn.
   *
   * @param running queries that wait for it; where there are none, nobody is kept waiting
   */
  next(running: number): number {
    if (running === 0) return UNDISTURBED;
    const alone = this.stepMs === undefined || this.turns % ALONE === ALONE - 1;
    this.turns++;
    return alone ? 0 : this.tokens;
  }

  /**
   * Says how long a turn took in which queries were running.
   *
   * @param tokens of prompts that came in meanwhile
   */
  took(ms: number, tokens: number): void {
    if (tokens === 0) {
      this.stepMs = this.stepMs === undefined ? ms : 0.7 * this.stepMs + 0.3 * ms;
      return;
    }
    if (this.stepMs === undefined || tokens < this.tokens / 2) return; // the end of a prompt says little
    const longer = Math.max(ms - this.stepMs, 1e-3);
    const factor = Math.min(1.5, Math.max(0.5, (SHARE * this.stepMs) / longer));
    this.tokens = Math.min(PREFILL_CHUNK, Math.max(LEAST_TOKENS, this.tokens * factor));
  }
}
