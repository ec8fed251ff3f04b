import { SdaError } from '../../errors.js';
import { byteToken } from '../../text/unigram.js';
import { type Field, fieldsOf, MalformedMessage } from './protobuf.js';

/** What a piece is: text that segmentation finds, or a place in the vocabulary with another use. */
export type PieceType = 'normal' | 'unknown' | 'control' | 'user-defined' | 'unused' | 'byte';

/** One entry of the vocabulary; its id is its place. Spaces are written as U+2581. */
export interface Piece {
  readonly text: string;
  /** Of a merge's result (BPE), or a log-probability (unigram): the higher is taken first. */
  readonly score: number;
  readonly type: PieceType;
}

/** What a `tokenizer.model` of SentencePiece says. */
export interface SentencePieceModel {
  readonly kind: 'bpe' | 'unigram';
  readonly pieces: readonly Piece[];
  readonly unkId: number;
  /** Whether a character without a piece is written as the bytes of its UTF-8. */
  readonly byteFallback: boolean;
  /** Whether a text gets a space before it. */
  readonly addDummyPrefix: boolean;
  /** Whether spaces at the ends go, and several become one. */
  readonly removeExtraWhitespaces: boolean;
}

const TYPES: readonly PieceType[] = [
  'normal',
  'unknown',
  'control',
  'user-defined',
  'unused',
  'byte',
];
const KINDS = ['unigram', 'bpe', 'word', 'char'];

/** Largest file and longest piece, in bytes: deriving merges takes the product of both. Llama's have 0.5 MB and 48. */
const MAX_BYTES = 16 * 2 ** 20;
const MAX_PIECE = 512;
/** Most pieces; the largest vocabularies of today have a million. */
const MAX_PIECES = 2 ** 21;

/** Numbers of the fields in sentencepiece_model.proto. */
const MODEL = { pieces: 1, trainer: 2, normalizer: 3, denormalizer: 5 };
const PIECE = { text: 1, score: 2, type: 3 };
const TRAINER = { kind: 3, whitespaceAsSuffix: 24, byteFallback: 35 };
const NORMALIZER = { name: 1, charsmap: 2, dummyPrefix: 3, extraWhitespaces: 4, escape: 5 };

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/**
 * Reads a SentencePiece model.
 * @param bytes of `tokenizer.model`; `file` is its path, for messages
 * @throws SdaError `bad-tokenizer` where it is none, `unsupported` where tokenizer.json cannot say the same
 */
export function parseSentencePiece(bytes: Uint8Array, file: string): SentencePieceModel {
  refuseOtherFormats(bytes, file);
  if (bytes.length > MAX_BYTES) {
    throw malformed(file, `it has ${bytes.length} bytes where at most ${MAX_BYTES} are read`);
  }
  try {
    return parseModel(bytes, file);
  } catch (error) {
    if (error instanceof SdaError) throw error;
    const why = error instanceof MalformedMessage ? error.message : 'a text in it is not UTF-8';
    throw malformed(file, why, error);
  }
}

function parseModel(bytes: Uint8Array, file: string): SentencePieceModel {
  const pieces: Piece[] = [];
  let trainer: Fields | undefined;
  let normalizer: Fields | undefined;
  for (const field of fieldsOf(bytes)) {
    if (pieces.length > MAX_PIECES) throw malformed(file, `it has more than ${MAX_PIECES} pieces`);
    if (field.number === MODEL.pieces) pieces.push(parsePiece(inner(field), pieces.length, file));
    if (field.number === MODEL.trainer) trainer = lastOfEach(inner(field), trainer);
    if (field.number === MODEL.normalizer) normalizer = lastOfEach(inner(field), normalizer);
    if (field.number === MODEL.denormalizer) checkCharsmap(lastOfEach(inner(field)), file);
  }
  // they stand behind the pieces, of which a file that was cut off has fewer
  if (!trainer || !normalizer) throw new MalformedMessage('it ends before its settings');
  checkNormalizer(normalizer, file);
  const model = {
    kind: kindOf(trainer, file),
    pieces,
    unkId: pieces.findIndex(({ type }) => type === 'unknown'),
    byteFallback: flag(trainer, TRAINER.byteFallback, false),
    addDummyPrefix: flag(normalizer, NORMALIZER.dummyPrefix, true),
    removeExtraWhitespaces: flag(normalizer, NORMALIZER.extraWhitespaces, true),
  };
  checkPieces(model, file);
  return model;
}

/** Fields that occur once, by number: of several the last one counts. */
type Fields = ReadonlyMap<number, number | Uint8Array>;

function lastOfEach(bytes: Uint8Array, earlier: Fields = new Map()): Fields {
  const fields = new Map(earlier);
  for (const { number, value } of fieldsOf(bytes)) fields.set(number, value);
  return fields;
}

function inner({ number, value }: Field): Uint8Array {
  if (typeof value === 'number') throw new MalformedMessage(`field ${number} is a number`);
  return value;
}

function parsePiece(bytes: Uint8Array, id: number, file: string): Piece {
  const fields = lastOfEach(bytes);
  const text = fields.get(PIECE.text) ?? new Uint8Array();
  const score = fields.get(PIECE.score) ?? new Uint8Array(4);
  const type = TYPES[Number(fields.get(PIECE.type) ?? 1) - 1];
  if (typeof text === 'number' || typeof score === 'number' || score.length !== 4 || !type) {
    throw malformed(file, `piece ${id} is none`);
  }
  const value = new DataView(score.buffer, score.byteOffset).getFloat32(0, true);
  if (!Number.isFinite(value)) throw malformed(file, `piece ${id} has the score ${value}`);
  if (text.length > MAX_PIECE) {
    throw malformed(file, `piece ${id} has ${text.length} bytes of text`);
  }
  return { text: utf8.decode(text), score: value, type };
}

function kindOf(trainer: Fields, file: string): 'bpe' | 'unigram' {
  const kind = Number(trainer.get(TRAINER.kind) ?? 1);
  const name = KINDS[kind - 1];
  if (name !== 'bpe' && name !== 'unigram') {
    throw unsupported(file, `is a SentencePiece model of type ${name ?? kind}`);
  }
  if (flag(trainer, TRAINER.whitespaceAsSuffix, false)) {
    throw unsupported(file, 'writes the space of a word after it');
  }
  return name;
}

function checkNormalizer(fields: Fields, file: string): void {
  checkCharsmap(fields, file);
  if (!flag(fields, NORMALIZER.escape, true)) throw unsupported(file, 'leaves spaces as they are');
}

/** A charsmap replaces characters (NFKC and more), with rules that the library only comes near to. */
function checkCharsmap(fields: Fields, file: string): void {
  const charsmap = fields.get(NORMALIZER.charsmap);
  if (charsmap === undefined || (typeof charsmap !== 'number' && charsmap.length === 0)) return;
  const name = fields.get(NORMALIZER.name);
  const text = name instanceof Uint8Array ? utf8.decode(name) : '';
  throw unsupported(file, `replaces characters by a table (${text || 'without a name'})`);
}

function flag(fields: Fields, number: number, otherwise: boolean): boolean {
  const value = fields.get(number);
  if (value instanceof Uint8Array) throw new MalformedMessage(`field ${number} is no number`);
  return value === undefined ? otherwise : value !== 0;
}

function checkPieces({ pieces, unkId, byteFallback }: SentencePieceModel, file: string): void {
  const texts = new Map<string, PieceType>();
  for (const [id, { text, type }] of pieces.entries()) {
    if (text === '') throw malformed(file, `piece ${id} has no text`);
    if (texts.has(text)) throw malformed(file, `${JSON.stringify(text)} is a piece twice`);
    if (type === 'unknown' && id !== unkId) throw malformed(file, 'two pieces are unknown');
    if (type === 'unused') throw unsupported(file, `has the unused piece ${JSON.stringify(text)}`);
    texts.set(text, type);
  }
  if (unkId < 0) throw malformed(file, 'no piece stands for unknown text');
  for (let byte = 0; byteFallback && byte < 256; byte++) {
    const text = byteToken(byte);
    if (texts.get(text) !== 'byte') throw malformed(file, `it has no piece ${text}`);
  }
}

/** Other files of this name: that of tiktoken (Llama 3), and what git leaves in the place of a large file. */
function refuseOtherFormats(bytes: Uint8Array, file: string): void {
  const start = new TextDecoder('latin1').decode(bytes.subarray(0, 200));
  if (/^[A-Za-z0-9+/]+=* \d+\r?\n/.test(start)) {
    throw new SdaError(
      'unsupported',
      `${file} is a vocabulary of tiktoken where a SentencePiece model is read; take the tokenizer.json of the model.`,
    );
  }
  if (start.startsWith('version https://git-lfs')) {
    throw new SdaError(
      'bad-tokenizer',
      `${file} only points to a file in Git LFS; run "git lfs pull" in its folder, or download the file.`,
    );
  }
}

function malformed(file: string, why: string, cause?: unknown): SdaError {
  return new SdaError(
    'bad-tokenizer',
    `${file} is not a SentencePiece model (${why}); download it again.`,
    { cause },
  );
}

function unsupported(file: string, what: string): SdaError {
  return new SdaError(
    'unsupported',
    `${file} ${what}, which cannot be written as a tokenizer.json with the same tokens; take the tokenizer.json of the model, or convert it with transformers.`,
  );
}
