import type { Piece } from './sentencepiece.js';

/**
 * The merges of a byte-pair encoding, first the ones that are applied first, from the scores of its pieces as
 * `convert_slow_tokenizer` of transformers derives them: every split of a piece into two, by score, then by the ids of
 * the piece and of its halves. Control, byte and user-defined pieces are none that SentencePiece merges.
 * @param pieces the vocabulary; ids are places in it
 */
export function mergesOf(pieces: readonly Piece[]): [string, string][] {
  const ids = new Map<string, number>();
  for (const [id, { text, type }] of pieces.entries()) if (type === 'normal') ids.set(text, id);
  const byScore = [...ids].sort(([, a], [, b]) => pieces[b]!.score - pieces[a]!.score || a - b);
  return byScore.flatMap(([text]) => splitsOf(text, ids));
}

/** Every split of a text into two that `ids` has, by their ids. */
export function splitsOf(text: string, ids: ReadonlyMap<string, number>): [string, string][] {
  const splits: {
    readonly halves: [string, string];
    readonly left: number;
    readonly right: number;
  }[] = [];
  const [first = ''] = text;
  for (let at = first.length; at < text.length; ) {
    const halves: [string, string] = [text.slice(0, at), text.slice(at)];
    const left = ids.get(halves[0]);
    const right = left === undefined ? undefined : ids.get(halves[1]);
    if (left !== undefined && right !== undefined) splits.push({ halves, left, right });
    at += text.codePointAt(at)! > 0xffff ? 2 : 1;
  }
  return splits.sort((a, b) => a.left - b.left || a.right - b.right).map(({ halves }) => halves);
}
