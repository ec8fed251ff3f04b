const OPEN = '<think>';
const CLOSE = '</think>';

/** A reasoning model's output in its two parts. */
export interface Reasoning {
  /** What was thought, without the tags; '' where nothing was. */
  readonly thinking: string;
  /** What was answered; '' while thinking is unfinished. */
  readonly answer: string;
  /** false where the text ended inside the thinking: there is no answer, not an empty one. */
  readonly finished: boolean;
}

/**
 * Splits a text at its last `</think>`. `<think>` counts only at the start of the text; it may be missing, since
 * templates of reasoning models often end with it, which `opened` says (see {@link opensThinking}).
 */
export function splitReasoning(
  text: string,
  options: { readonly opened?: boolean } = {},
): Reasoning {
  const begins = options.opened === true || text.trimStart().startsWith(OPEN);
  const close = text.lastIndexOf(CLOSE);
  const mentioned = !begins && text.slice(0, Math.max(close, 0)).includes(OPEN);
  if (mentioned || (!begins && close < 0)) return { thinking: '', answer: text, finished: true };
  const rest = close < 0 ? '' : text.slice(close + CLOSE.length).trimStart();
  if (close < 0 || rest.startsWith(OPEN)) {
    return { thinking: withoutTag(text), answer: '', finished: false };
  }
  return { thinking: withoutTag(text.slice(0, close)), answer: rest, finished: true };
}

/** Whether a prompt ends inside the thinking, as those of DeepSeek-R1's template do. */
export function opensThinking(prompt: string): boolean {
  return prompt.trimEnd().endsWith(OPEN);
}

function withoutTag(thinking: string): string {
  const start = thinking.trimStart();
  return (start.startsWith(OPEN) ? start.slice(OPEN.length) : thinking).trim();
}

/** A piece of a text that belongs to one of its parts. */
export interface TextPart {
  readonly part: 'thinking' | 'answer';
  /** For thinking, with its tags and the white space around them. */
  readonly text: string;
}

/**
 * Sorts a text into its parts as it comes: the pieces joined are the text, and those of the answer joined are
 * the answer of {@link splitReasoning}. Only where a further `</think>` comes inside the answer did it
 * begin too early, which cannot be known before.
 */
export class ReasoningStream {
  private held = '';
  private state: 'start' | 'thinking' | 'closed' | 'answer';

  constructor(options: { readonly opened: boolean }) {
    this.state = options.opened ? 'thinking' : 'start';
  }

  /** The pieces that are sorted now; what may be the start of a tag is held back. */
  push(text: string): TextPart[] {
    this.held += text;
    const parts: TextPart[] = [];
    while (this.advance(parts));
    return parts;
  }

  /** At the end: what was held back. */
  flush(): TextPart[] {
    const parts: TextPart[] = [];
    if (this.state === 'closed') this.take(parts, 'thinking', leadingSpace(this.held));
    this.take(parts, this.state === 'thinking' ? 'thinking' : 'answer', this.held.length);
    return parts;
  }

  /** @returns whether there may be more to sort */
  private advance(parts: TextPart[]): boolean {
    switch (this.state) {
      case 'answer':
        this.take(parts, 'answer', this.held.length);
        return false;
      case 'thinking': {
        const close = this.held.indexOf(CLOSE);
        if (close < 0) {
          this.take(parts, 'thinking', this.held.length - startOfTag(this.held));
          return false;
        }
        this.take(parts, 'thinking', close + CLOSE.length);
        this.state = 'closed';
        return true;
      }
      default: {
        const space = leadingSpace(this.held);
        const text = this.held.slice(space);
        if (text.startsWith(OPEN)) {
          this.take(parts, 'thinking', space + OPEN.length);
          this.state = 'thinking';
          return true;
        }
        if (OPEN.startsWith(text)) return false;
        if (this.state === 'closed') this.take(parts, 'thinking', space);
        this.state = 'answer';
        return true;
      }
    }
  }

  private take(parts: TextPart[], part: TextPart['part'], length: number): void {
    const text = this.held.slice(0, length);
    this.held = this.held.slice(length);
    const last = parts.at(-1);
    if (last?.part === part) parts[parts.length - 1] = { part, text: last.text + text };
    else if (text !== '') parts.push({ part, text });
  }
}

function leadingSpace(text: string): number {
  return text.length - text.trimStart().length;
}

/** How many of a text's last characters may be the start of a closing tag. */
function startOfTag(text: string): number {
  let length = Math.min(CLOSE.length - 1, text.length);
  while (!CLOSE.startsWith(text.slice(text.length - length))) length--;
  return length;
}
