import type { AddedTokenConfig, TokenizerConfig } from './tokenizer-config.js';

/** A part of a text; in a literal one, what looks like a special token is plain text. */
export interface TextSegment {
  readonly text: string;
  readonly literal: boolean;
}

/**
 * The added tokens of tokenizer.json, those that only tokenizer_config.json has, and the special
 * tokens that are ordinary entries of the vocabulary: transformers makes added tokens of all.
 */
export function allAddedTokens(
  own: readonly AddedTokenConfig[],
  vocab: unknown,
  config: TokenizerConfig,
): AddedTokenConfig[] {
  const byContent = new Map<string, AddedTokenConfig>();
  for (const token of [...config.addedTokens, ...own]) {
    byContent.set(token.content, token);
  }
  const vocabulary = vocabularyIds(vocab);
  for (const content of [...Object.values(config.roles), ...config.extraSpecialTokens]) {
    const known = byContent.get(content);
    const id = known?.id ?? vocabulary(content);
    if (id === undefined) continue;
    byContent.set(content, {
      ...(known ?? {
        id,
        content,
        lstrip: false,
        rstrip: false,
        normalized: false,
        single_word: false,
      }),
      special: true,
    });
  }
  return [...byContent.values()].sort((a, b) => a.id - b.id);
}

/** Looks up a token in a vocabulary of either form: text to id, or a list of [text, score]. */
function vocabularyIds(vocab: unknown): (content: string) => number | undefined {
  if (Array.isArray(vocab)) {
    return (content) => {
      const id = vocab.findIndex((entry) => Array.isArray(entry) && entry[0] === content);
      return id < 0 ? undefined : id;
    };
  }
  if (typeof vocab !== 'object' || vocab === null) return () => undefined;
  return (content) => {
    const id: unknown =
      Object.hasOwn(vocab, content) && (vocab as Record<string, unknown>)[content];
    return Number.isInteger(id) ? (id as number) : undefined;
  };
}

/** A text in sections: plain text, and the added tokens that stand in its segments that are not literal. */
export function splitAtAddedTokens(
  segments: readonly TextSegment[],
  addedTokens: readonly AddedTokenConfig[],
): (string | AddedTokenConfig)[] {
  const byContent = new Map(addedTokens.map((token) => [token.content, token]));
  const longestFirst = [...byContent.keys()].sort((a, b) => b.length - a.length);
  const pattern = new RegExp(`(${longestFirst.map(escapeRegExp).join('|') || '(?!)'})`, 'u');
  const sections: (string | AddedTokenConfig)[] = [];
  const addText = (text: string) => {
    const last = sections.at(-1);
    if (typeof last === 'string') sections[sections.length - 1] = last + text;
    else if (text !== '') sections.push(text);
  };
  const whole = segments.map(({ text }) => text).join('');
  let end = 0;
  for (const { text, literal } of segments) {
    for (const piece of literal ? [text] : text.split(pattern)) {
      const start = end;
      end += piece.length;
      const token = literal ? undefined : byContent.get(piece);
      if (token && !(token.single_word && isInsideWord(whole, { start, end })))
        sections.push(token);
      else addText(piece);
    }
  }
  return sections.map((section, i) => {
    if (typeof section !== 'string') return section;
    const [before, after] = [sections[i - 1], sections[i + 1]];
    const start = typeof before === 'object' && before.rstrip ? section.trimStart() : section;
    return typeof after === 'object' && after.lstrip ? start.trimEnd() : start;
  });
}

/** Whether a word goes on before or after a part of a text, as the Rust library sees words. */
export function isInsideWord(
  text: string,
  part: { readonly start: number; readonly end: number },
): boolean {
  const before = [...text.slice(Math.max(0, part.start - 2), part.start)].at(-1) ?? '';
  return WORD.test(before) || WORD.test(text.slice(part.end, part.end + 2));
}

const WORD = /^[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]/u;

/** A text in segments, in which the texts of special tokens are literal. */
export function plainSegments(
  text: string,
  addedTokens: readonly AddedTokenConfig[],
): TextSegment[] {
  const special = addedTokens
    .filter((token) => token.special && token.content.trim() !== '')
    .map(({ content }) => content)
    .sort((a, b) => b.length - a.length)
    .map(escapeRegExp);
  return text
    .split(new RegExp(`(${special.join('|') || '(?!)'})`, 'u'))
    .map((part, index) => ({ text: part, literal: index % 2 === 1 }))
    .filter((part) => part.text !== '');
}

/** A text as the pattern that matches it, also under the flag u. */
export function escapeRegExp(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|/-]/g, (character) =>
    character === '-' ? '\\x2d' : `\\${character}`,
  );
}
