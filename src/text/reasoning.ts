/** What stands around thinking. */
export interface ThinkingTags {
  readonly open: string;
  readonly close: string;
  /** What models write between a tag and the thinking, and twice behind the closing tag */
  readonly gap: '' | '\n';
}
/** Those of DeepSeek and Qwen, and those of Magistral. */
const PAIRS: readonly ThinkingTags[] = [
  { open: '<think>', close: '</think>', gap: '\n' },
  { open: '[THINK]', close: '[/THINK]', gap: '' },
];

/** The tags, which are special tokens in some checkpoints. */
export const THINKING_TAGS: ReadonlySet<string> = new Set(
  PAIRS.flatMap(({ open, close }) => [open, close]),
);

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
 * Splits a text at its last `</think>` (or `[/THINK]`: where the text begins with one of the opening tags, only its
 * partner counts). `<think>` counts only at the start of the text; it may be missing, since
 * templates of reasoning models often end with it, which `opened` says (see {@link opensThinking}).
 */
export function splitReasoning(
  text: string,
  options: { readonly opened?: boolean } = {},
): Reasoning {
  const { opened = false } = options;
  const own = opened ? undefined : pairAt(text.trimStart());
  const pairs = own ? [own] : PAIRS;
  const begins = opened || own !== undefined;
  const [close, end] = lastClose(text, pairs);
  const before = text.slice(0, Math.max(close, 0));
  const mentioned = !begins && pairs.some(({ open }) => before.includes(open));
  if (mentioned || (!begins && close < 0)) return { thinking: '', answer: text, finished: true };
  const rest = close < 0 ? '' : text.slice(end).trimStart();
  if (close < 0 || pairAt(rest, pairs)) {
    return { thinking: withoutTag(text), answer: '', finished: false };
  }
  return { thinking: withoutTag(before), answer: rest, finished: true };
}

/**
 * The tags that a model writes: those that its prompt opens, else those that it has tokens for, else `<think>`.
 *
 * @param tokens texts of the tokens that are no ordinary text; see `Tokenizer.addedTokens`
 */
export function thinkingTags(prompt: string, tokens: Iterable<string>): ThinkingTags {
  const text = prompt.trimEnd();
  const known = new Set(tokens);
  return (
    PAIRS.find(({ open }) => text.endsWith(open)) ??
    PAIRS.find(({ open, close }) => known.has(open) && known.has(close)) ??
    PAIRS[0]!
  );
}

/** Whether a prompt ends inside the thinking, as those of DeepSeek-R1's template do. */
export function opensThinking(prompt: string): boolean {
  const text = prompt.trimEnd();
  return PAIRS.some(({ open }) => text.endsWith(open));
}

/** The tags whose opening one a text begins with. */
function pairAt(text: string, pairs = PAIRS): ThinkingTags | undefined {
  return pairs.find(({ open }) => text.startsWith(open));
}

/** Where the last closing tag begins and ends; -1 where there is none. */
function lastClose(text: string, pairs: readonly ThinkingTags[]): readonly [number, number] {
  const ends = pairs.map(({ close }) => [text.lastIndexOf(close), close.length] as const);
  const [start, length] = ends.reduce((last, other) => (other[0] > last[0] ? other : last));
  return [start, start + length];
}

function withoutTag(thinking: string): string {
  const start = thinking.trimStart();
  return start.slice(pairAt(start)?.open.length ?? 0).trim();
}

/** A piece of a text that belongs to one of its parts. */
export interface TextPart {
  readonly part: 'thinking' | 'answer';
  /** For thinking, with its tags and the white space around them. */
  readonly text: string;
}

/**
 * Sorts a text into its parts as it comes: the pieces joined are the text, and those of the answer joined are
 * the answer of {@link splitReasoning}. Only where a further closing tag comes inside the answer did it
 * begin too early, which cannot be known before.
 */
export class ReasoningStream {
  private held = '';
  /** The tags that count: those that the text began with, or any. */
  private pairs = PAIRS;
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
        const end = firstClose(this.held, this.pairs);
        if (end < 0) {
          this.take(parts, 'thinking', this.held.length - startOfTag(this.held, this.pairs));
          return false;
        }
        this.take(parts, 'thinking', end);
        this.state = 'closed';
        return true;
      }
      default: {
        const space = leadingSpace(this.held);
        const text = this.held.slice(space);
        const pair = pairAt(text, this.pairs);
        if (pair) {
          if (this.state === 'start') this.pairs = [pair];
          this.take(parts, 'thinking', space + pair.open.length);
          this.state = 'thinking';
          return true;
        }
        if (this.pairs.some(({ open }) => open.startsWith(text))) return false;
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

/** Where the first closing tag ends; -1 where there is none. */
function firstClose(text: string, pairs: readonly ThinkingTags[]): number {
  const found = pairs
    .map(({ close }) => ({ close, start: text.indexOf(close) }))
    .filter(({ start }) => start >= 0)
    .sort((a, b) => a.start - b.start)[0];
  return found ? found.start + found.close.length : -1;
}

/** How many of a text's last characters may be the start of a closing tag. */
function startOfTag(text: string, pairs: readonly ThinkingTags[]): number {
  const lengths = pairs.map(({ close }) => {
    let length = Math.min(close.length - 1, text.length);
    while (!close.startsWith(text.slice(text.length - length))) length--;
    return length;
  });
  return Math.max(...lengths);
}
