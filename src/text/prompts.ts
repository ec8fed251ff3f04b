import { SdaError } from '../errors.js';
import { escapeRegExp, type TextSegment } from './added-tokens.js';
import {
  type ChatMessage,
  type ChatTemplate,
  noChatTemplate,
  type TemplateVariables,
} from './chat-template.js';
import type { Tokenizer } from './tokenizer.js';

/** Where the alignment instruction can stand; the paper's place is after the query. */
export const PLACEMENTS = ['after-query', 'before-query', 'system'] as const;

/** Where the alignment instruction stands. */
export type Placement = (typeof PLACEMENTS)[number];

/** Options of {@link buildPrompt}. */
export interface PromptOptions {
  readonly tokenizer: Tokenizer;
  /** null (no template) is an error here. */
  readonly template: ChatTemplate | null;
  /** Q. */
  readonly query: string;
  /** I; null: none */
  readonly instruction: string | null;
  readonly placement: Placement;
  /** Turns before the query, none of them a system line; default none */
  readonly history?: readonly ChatMessage[] | undefined;
  /** A system line; default none, so that the template's own default applies. */
  readonly system?: string | undefined;
  /** Put system text before the user's, with a blank line between, for templates without a system turn. */
  readonly foldSystem?: boolean | undefined;
  /** What `strftime_now` of the template sees; default now. */
  readonly date?: Date | undefined;
  /** Further variables of the template. */
  readonly templateVariables?: TemplateVariables | undefined;
}

/** The prompt of one stream. */
export interface Prompt {
  readonly ids: number[];
  readonly text: string;
}

/** The two contexts of SDA: given Q, and given Q and I. */
export interface Prompts {
  readonly baseIds: number[];
  readonly instructedIds: number[];
  readonly baseText: string;
  readonly instructedText: string;
}

/**
 * Builds a prompt through the chat template. With `after-query` the user turn is the query, or query + newline +
 * instruction, so that prompts with and without the instruction share everything up to the end of the query.
 *
 * No special tokens are added to what a chat template writes (as transformers does it), so a beginning-of-
 * text token is never doubled; and control tokens that a user writes stay plain text.
 * @throws SdaError `bad-input` for an empty query or instruction, `no-chat-template`, `bad-template`
 *   with the template's own message, for example where it takes no system turn.
 */
export function buildPrompt(options: PromptOptions): Prompt {
  const { query, instruction, tokenizer, template } = options;
  requireText('query', query);
  if (instruction !== null) requireText('instruction', instruction);
  if (!template) throw noChatTemplate();
  const { date = new Date(), templateVariables: variables } = options;
  const lookAlikes = controlTokenPattern(tokenizer, template);
  const messages = marked(messagesOf(options), lookAlikes);
  const rendered = segments(template.render(messages, { date, variables }));
  const start = template.plain ? beginning(tokenizer) : [];
  return { ids: [...start, ...tokenizer.encodeSegments(rendered)], text: joined(rendered) };
}

/** Both prompts of SDA: see `buildPrompt`. */
export function buildPrompts(options: PromptOptions & { readonly instruction: string }): Prompts {
  requireText('query', options.query);
  requireText('instruction', options.instruction);
  const base = buildPrompt({ ...options, instruction: null });
  const instructed = buildPrompt(options);
  return {
    baseIds: base.ids,
    instructedIds: instructed.ids,
    baseText: base.text,
    instructedText: instructed.text,
  };
}

function messagesOf({
  query,
  instruction,
  placement,
  history = [],
  system,
  foldSystem = false,
}: PromptOptions): ChatMessage[] {
  const told = (line: string | undefined, user: string) =>
    conversation(line, [...history, { role: 'user', content: user }], foldSystem);
  if (instruction === null) return told(system, query);
  switch (placement) {
    case 'after-query':
      return told(system, `${query}\n${instruction}`);
    case 'before-query':
      return told(system, `${instruction}\n${query}`);
    case 'system':
      return told(system ? `${system}\n${instruction}` : instruction, query);
  }
}

/** The beginning-of-text token, where the tokenizer puts one before a text. */
export function beginning(tokenizer: Tokenizer): number[] {
  const [first] = tokenizer.encode('');
  return first !== undefined && first === tokenizer.bosTokenId ? [first] : [];
}

function requireText(name: string, text: string): void {
  if (text.trim() === '') {
    throw new SdaError(
      'bad-input',
      `The ${name} is empty where some text is expected; give a ${name}.`,
    );
  }
}

function conversation(
  system: string | undefined,
  turns: readonly ChatMessage[],
  fold: boolean,
): ChatMessage[] {
  if (!system) return [...turns];
  if (!fold) return [{ role: 'system', content: system }, ...turns];
  const first = turns.findIndex(({ role }) => role === 'user');
  return turns.map((turn, index) =>
    index === first ? { ...turn, content: `${system}\n\n${turn.content}` } : turn,
  );
}

/** Two characters that Unicode reserves for use inside a program, around look-alikes of control tokens. */
const START = '\ufdd0';
const END = '\ufdd1';

/** Matches the special tokens, and the added tokens that the template writes itself. */
function controlTokenPattern(tokenizer: Tokenizer, template: ChatTemplate): RegExp {
  const control = tokenizer.addedTokens
    .filter(({ special, content }) => special || template.source.includes(content))
    .map(({ content }) => content)
    .filter((content) => content.trim() !== '')
    .sort((a, b) => b.length - a.length)
    .map(escapeRegExp);
  return new RegExp(control.join('|') || '(?!)', 'gu');
}

function marked(messages: readonly ChatMessage[], lookAlikes: RegExp): ChatMessage[] {
  return messages.map(({ role, content }) => ({
    role,
    content: content
      .replaceAll(/[\ufdd0\ufdd1]/g, '')
      .replaceAll(lookAlikes, (token) => START + token + END),
  }));
}

/**
 * A rendered text cut at the marks. A mark whose partner the template lost is dropped, but the text stays
 * cut there, so that its sides cannot join to a control token.
 */
function segments(rendered: string): TextSegment[] {
  return rendered
    .split(/(\ufdd0[^\ufdd0\ufdd1]*\ufdd1|[\ufdd0\ufdd1])/)
    .map((part) => ({
      text: part.replaceAll(/[\ufdd0\ufdd1]/g, ''),
      literal: part.startsWith(START) && part.endsWith(END),
    }))
    .filter(({ text }) => text !== '');
}

function joined(parts: readonly TextSegment[]): string {
  return parts.map(({ text }) => text).join('');
}
