import { StopStrings } from '../decode/stop-strings.js';
import { opensThinking, ReasoningStream, type TextPart } from '../text/reasoning.js';
import type { StreamDecoder, Tokenizer } from '../text/tokenizer.js';

/** The text of one answer as its tokens come. */
export class AnswerText {
  private readonly decoder: StreamDecoder | null;
  private readonly stops: StopStrings;
  private readonly parts: ReasoningStream;
  /** What each token added that has not been taken */
  private readonly pending: string[] = [];
  private shown = '';
  private ended = false;

  /** Whether the prompt opens the thinking */
  readonly opened: boolean;

  constructor(tokenizer: Tokenizer | null, stop: readonly string[], prompt: readonly number[]) {
    this.opened = tokenizer !== null && opensThinking(tokenizer.decode(prompt));
    this.decoder = tokenizer?.streamDecoder({ skipSpecialTokens: true }) ?? null;
    this.stops = new StopStrings(stop);
    this.parts = new ReasoningStream(this);
  }

  /** Adds a token. @returns true when a stop string is complete. */
  push(id: number): boolean {
    const { text, stopped } = this.stops.push(this.decoder?.push(id) ?? '');
    this.pending.push(text);
    this.ended = stopped;
    return stopped;
  }

  /** The text of the next token; of the last one, also what was held back. */
  take(isLast: boolean): { text: string; parts: TextPart[] } {
    const text = isLast ? this.rest() : (this.pending.shift() ?? '');
    this.shown += text;
    const parts = this.parts.push(text);
    return { text, parts: isLast ? [...parts, ...this.parts.flush()] : parts };
  }

  /** The whole text, with what an aborted answer still held back. */
  all(): string {
    this.shown += this.rest();
    return this.shown;
  }

  private rest(): string {
    const text = this.pending.splice(0).join('');
    if (this.ended) return text;
    this.ended = true;
    const { text: more, stopped } = this.stops.push(this.decoder?.flush() ?? '');
    return text + (stopped ? more : more + this.stops.flush());
  }
}
