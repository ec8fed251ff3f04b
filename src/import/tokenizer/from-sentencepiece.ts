import { escapeRegExp } from '../../text/added-tokens.js';
import type { AddedTokenConfig } from '../../text/tokenizer-config.js';
import { mergesOf } from './merges.js';
import type { Piece, SentencePieceModel } from './sentencepiece.js';
import type { TokenizerSettings } from './settings.js';

/** How SentencePiece writes a space. */
const SPACE = '\u2581';

/**
 * The parts of a tokenizer.json that encode a text as SentencePiece does, inside the rules of transformers for the
 * space before it: with `legacy` (the default) every part of a text between added tokens gets one, else only its start.
 * @param added tokens that give pieces another text
 */
export function fromSentencePiece(
  model: SentencePieceModel,
  settings: Pick<TokenizerSettings, 'raw'>,
  added: readonly AddedTokenConfig[],
): Readonly<Record<string, unknown>> {
  const { legacy, add_prefix_space } = settings.raw;
  const always = (legacy ?? true) && model.addDummyPrefix;
  const prefix =
    add_prefix_space === false ? 'never' : always ? 'always' : (legacy ?? true) ? 'never' : 'first';
  return {
    normalizer: { type: 'Sequence', normalizers: normalizers(model, legacy ?? true) },
    pre_tokenizer: sequence([...prefixSteps(prefix), ...splitSteps(model)]),
    decoder: decoder(model, prefix !== 'never' || model.removeExtraWhitespaces),
    model: modelOf(model, added),
  };
}

/** Without `legacy`, U+2581 is a space from the beginning, and one space stays at the start of a text. */
function normalizers(model: SentencePieceModel, legacy: boolean): unknown[] {
  const replace = (pattern: object, content: string) => ({ type: 'Replace', pattern, content });
  const escaped = replace({ String: ' ' }, SPACE);
  if (!model.removeExtraWhitespaces) return [escaped];
  return [
    legacy ? replace({ Regex: '\\A +' }, '') : replace({ String: SPACE }, ' '),
    replace({ Regex: '(?<= ) +' }, ''),
    escaped,
    replace({ Regex: `${SPACE}+\\z` }, ''),
  ];
}

/**
 * Metaspace leaves a text alone that begins with its own character, where SentencePiece writes a second one. The first
 * step has a space for its character, with which no text begins any more; the second one makes U+2581 of it.
 */
function prefixSteps(scheme: 'always' | 'first' | 'never'): unknown[] {
  if (scheme === 'never') return [];
  const metaspace = { type: 'Metaspace', split: false };
  return [
    { ...metaspace, replacement: ' ', prepend_scheme: scheme },
    { ...metaspace, replacement: SPACE, prepend_scheme: 'never' },
  ];
}

/**
 * User-defined pieces are words of their own for byte-pair encoding, the longest first. What a control piece or a byte
 * is called must not become that piece where it stands in a text: its first character is cut off.
 */
function splitSteps({ kind, pieces }: SentencePieceModel): unknown[] {
  const names = pieces
    .filter(({ type }) => type !== 'normal' && type !== 'user-defined')
    .map(({ text }) => [...text]);
  const firsts = (start: string, end: string) =>
    names
      .map(([first = '', ...rest]) => {
        const follows = escapeRegExp(rest.join(''));
        return `${start}${escapeRegExp(first)}(?=${follows}${end})`;
      })
      .join('|');
  if (kind === 'unigram') return [split(firsts('', ''))];
  const own = pieces.filter(({ type }) => type === 'user-defined').map(({ text }) => text);
  return own.length === 0 ? [] : [split(alternatives(own)), split(firsts('\\A', '\\z'))];
}

function split(Regex: string): unknown {
  return { type: 'Split', pattern: { Regex }, behavior: 'Isolated', invert: false };
}

function alternatives(texts: readonly string[]): string {
  return [...texts]
    .sort((a, b) => b.length - a.length)
    .map(escapeRegExp)
    .join('|');
}

function sequence(pretokenizers: readonly unknown[]): unknown {
  return pretokenizers.length === 0 ? null : { type: 'Sequence', pretokenizers };
}

function decoder(model: SentencePieceModel, stripped: boolean): unknown {
  const decoders = [
    { type: 'Replace', pattern: { String: SPACE }, content: ' ' },
    ...(model.byteFallback ? [{ type: 'ByteFallback' }] : []),
    { type: 'Fuse' },
    ...(stripped ? [{ type: 'Strip', content: ' ', start: 1, stop: 0 }] : []),
  ];
  return { type: 'Sequence', decoders };
}

function modelOf(model: SentencePieceModel, added: readonly AddedTokenConfig[]): unknown {
  const { kind, pieces, unkId, byteFallback } = model;
  const renamed = new Map(added.map(({ id, content }) => [id, content]));
  const texts = pieces.map(({ text }, id) => renamed.get(id) ?? text);
  if (kind === 'unigram') {
    const highest = pieces.reduce(
      (most, { type, score }) => (type === 'normal' ? Math.max(most, score) : most),
      LEAST_BONUS,
    );
    return {
      type: 'Unigram',
      unk_id: unkId,
      vocab: texts.map((text, id) => [text, unigramScore(pieces[id]!, highest)]),
      byte_fallback: byteFallback,
    };
  }
  return {
    type: 'BPE',
    dropout: null,
    unk_token: texts[unkId],
    continuing_subword_prefix: null,
    end_of_word_suffix: null,
    fuse_unk: true,
    byte_fallback: byteFallback,
    ignore_merges: pieces.some(({ type }) => type === 'user-defined'),
    vocab: Object.fromEntries(texts.map((text, id) => [text, id])),
    merges: mergesOf(pieces),
  };
}

/** The score that SentencePiece gives a byte of a user-defined piece where no normal piece has a higher one. */
const LEAST_BONUS = 0.1;

/** User-defined pieces are taken before all others, whatever score the file has for them. */
function unigramScore({ text, type, score }: Piece, highest: number): number {
  return type === 'user-defined' ? Buffer.byteLength(text) * highest - 0.1 : score;
}
