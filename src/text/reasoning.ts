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
 * Splits a text at its last `</think>`. The opening tag may be missing: templates of reasoning models
 * often end with it, which `opened` says (see {@link opensThinking}).
 */
export function splitReasoning(
  text: string,
  options: { readonly opened?: boolean } = {},
): Reasoning {
  const close = text.lastIndexOf(CLOSE);
  const rest = close < 0 ? text : text.slice(close + CLOSE.length);
  const reopened = rest.trimStart().startsWith(OPEN);
  if (reopened || (close < 0 && options.opened === true)) {
    return { thinking: withoutTag(text), answer: '', finished: false };
  }
  if (close < 0) return { thinking: '', answer: text, finished: true };
  return { thinking: withoutTag(text.slice(0, close)), answer: rest.trimStart(), finished: true };
}

/** Whether a prompt ends inside the thinking, as those of DeepSeek-R1's template do. */
export function opensThinking(prompt: string): boolean {
  return prompt.trimEnd().endsWith(OPEN);
}

function withoutTag(thinking: string): string {
  const start = thinking.trimStart();
  return (start.startsWith(OPEN) ? start.slice(OPEN.length) : thinking).trim();
}
