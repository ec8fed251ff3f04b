import { StopStrings } from '../decode/stop-strings.js';
import { opensThinking, ReasoningStream, type TextPart } from '../text/reasoning.js';
import type { StreamDecoder, Tokenizer } from '../text/tokenizer.js';

/** The text of one answer as its tokens come. */
export class AnswerText {
  private readonly decoder: StreamDecoder | null;
  private readonly stops: StopStrings;
  private readonly parts: ReasoningStream;
  private pending = '';
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

  /** @returns true when a stop string is complete. */
  push(id: number): boolean {
    const { text, stopped } = this.stops.push(this.decoder?.push(id) ?? '');
    this.pending += text;
    this.ended = stopped;
    return stopped;
  }

  /** The new text since the last call; at the end, also what was held back. */
  take(isLast: boolean): { text: string; parts: TextPart[] } {
    if (isLast) this.finish();
    const text = this.pending;
    this.pending = '';
    this.shown += text;
    const parts = this.parts.push(text);
    return { text, parts: isLast ? [...parts, ...this.parts.flush()] : parts };
  }

  /** The whole text, with what an aborted answer still held back. */
  all(): string {
    this.finish();
    return this.shown + this.pending;
  }

  private finish(): void {
    if (this.ended) return;
    this.ended = true;
    const { text, stopped } = this.stops.push(this.decoder?.flush() ?? '');
    this.pending += stopped ? text : text + this.stops.flush();
  }
}
