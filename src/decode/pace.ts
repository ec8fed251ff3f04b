import { PREFILL_CHUNK } from './streams.js';

/** Fewer tokens take as long as these. */
export const LEAST_TOKENS = 4;
/** Beyond these tokens come in multiples of them, which linear layers take at once; below it in pairs. */
const PANEL = 8;
const PAIR = 2;
/** Tokens where nobody is kept waiting: those that come at once begin together. */
export const UNDISTURBED = 4 * PREFILL_CHUNK;
/**
 * What prompts may take of a turn, in steps: with the step itself, a query waits 1.5 of its steps for a token. The longest of
 * hundreds of turns takes up to twice as long as most on a busy machine, and is to stay below 3.
 */
const SHARE = 0.5;
/** By what factor tokens become more at a time, or by one panel. */
const GROWTH = 1.5;
/** One turn of so many belongs to the step alone, which shows how long it takes by itself. */
const ALONE = 8;
/** After so many turns a number of tokens that took too long is tried again. */
const PATIENCE = 64;

/**
 * How many tokens of prompts come in between two steps, so that running queries hardly notice: what has been measured says
 * how long a step takes, and how much longer a turn with so many tokens.
 */
export class Pace {
  private tokens = LEAST_TOKENS;
  private stepMs: number | undefined;
  private turns = 0;
  private running = 0;
  /** Tokens that took too long, and the turn from which on they may be tried again */
  private tooMany = { tokens: Number.POSITIVE_INFINITY, until: 0 };

  /**
   * Tokens for the coming turn.
   *
   * @param running queries that wait for it; where there are none, nobody is kept waiting
   */
  next(running: number): number {
    if (running === 0) return UNDISTURBED;
    if (running < this.running) this.slacken(running / this.running);
    this.running = running;
    const alone = this.stepMs === undefined || this.turns % ALONE === ALONE - 1;
    this.turns++;
    return alone ? 0 : this.tokens;
  }

  /** Steps of fewer queries are shorter, and what was measured of the others says too much. */
  private slacken(share: number): void {
    this.tokens = inPanels(share * this.tokens);
    this.stepMs = undefined;
    this.tooMany = { tokens: Number.POSITIVE_INFINITY, until: 0 };
  }

  /**
   * Says how long a turn took in which queries were running.
   *
   * @param tokens of prompts that came in meanwhile
   */
  took(ms: number, tokens: number): void {
    if (tokens === 0) {
      const before = this.stepMs ?? ms;
      this.stepMs = 0.7 * before + 0.3 * Math.min(ms, 2 * before); // one that was held up says little
      return;
    }
    if (this.stepMs === undefined || tokens < this.tokens / 2) return; // the end of a prompt says little
    const share = Math.max(ms / this.stepMs - 1, 1e-3);
    if (share > SHARE) {
      this.tooMany = { tokens: this.tokens, until: this.turns + PATIENCE };
      this.tokens = inPanels(this.tokens * Math.max(0.5, (0.9 * SHARE) / share));
      return;
    }
    const more = inPanels(Math.max(GROWTH * this.tokens, this.tokens + PANEL));
    if (more >= this.tooMany.tokens && this.turns < this.tooMany.until) return;
    const factor = more / this.tokens;
    // up to one panel half of the time is taken to be the chunk's own; beyond it each panel costs as much as the first
    if (share * (more > PANEL ? factor : (1 + factor) / 2) <= SHARE) this.tokens = more;
  }
}

/** The most tokens in whole panels that are no more than these. */
function inPanels(tokens: number): number {
  const unit = tokens < PANEL ? PAIR : PANEL;
  return Math.min(PREFILL_CHUNK, Math.max(LEAST_TOKENS, unit * Math.floor(tokens / unit)));
}
