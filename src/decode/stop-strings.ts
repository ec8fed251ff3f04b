/**
 * Cuts a streamed text at the first stop string, holding back what may turn out to be the start of one.
 */
export class StopStrings {
  private readonly stops: readonly string[];
  private held = '';

  /** @param stops texts that end the answer; they are not part of it. Empty ones are ignored. */
  constructor(stops: readonly string[]) {
    this.stops = stops.filter((stop) => stop.length > 0);
  }

  /** @returns the text that is safe to show, and whether a stop string was met. */
  push(delta: string): { text: string; stopped: boolean } {
    const text = this.held + delta;
    const begin = firstComplete(text, this.stops);
    if (begin >= 0) {
      this.held = '';
      return { text: text.slice(0, begin), stopped: true };
    }
    const keep = Math.max(0, ...this.stops.map((stop) => overlap(text, stop)));
    this.held = text.slice(text.length - keep);
    return { text: text.slice(0, text.length - keep), stopped: false };
  }

  /** What was held back, when the text ends without a stop string. */
  flush(): string {
    const text = this.held;
    this.held = '';
    return text;
  }
}

/**
 * Where the stop string begins that is complete first, the longest of those; -1 for none. Going by the ends
 * makes the cut the same however the text is split.
 */
function firstComplete(text: string, stops: readonly string[]): number {
  let [begin, end] = [-1, Infinity];
  for (const stop of stops) {
    const index = text.indexOf(stop);
    if (index < 0) continue;
    const last = index + stop.length;
    if (last < end || (last === end && index < begin)) [begin, end] = [index, last];
  }
  return begin;
}

/** Length of the longest end of `text` that is a beginning of `stop`. */
function overlap(text: string, stop: string): number {
  for (let length = Math.min(stop.length - 1, text.length); length > 0; length--) {
    if (text.endsWith(stop.slice(0, length))) return length;
  }
  return 0;
}
