import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import {
  parseJson,
  readBytesIfPresent,
  readTextFile,
  readTextFileIfPresent,
} from '../../checkpoint/json-file.js';
import { SdaError } from '../../errors.js';
import { SENTENCEPIECE_FILE } from '../../text/tokenizer-file.js';
import { type AddedTokens, addedTokensOf } from './added-tokens.js';
import { fromByteLevel, parseMerges, parseVocabulary } from './byte-level.js';
import { type TokenizerClass, tokenizerClass } from './classes.js';
import { fromSentencePiece } from './from-sentencepiece.js';
import { parseSentencePiece } from './sentencepiece.js';
import { loadSettings, type TokenizerSettings } from './settings.js';
import { fromTekken, TEKKEN_FILE } from './tekken.js';
import { wrapping } from './wrapping.js';

/** The two files of a tokenizer, as the values of their JSON. */
export interface TokenizerFiles {
  readonly 'tokenizer.json': Readonly<Record<string, unknown>>;
  readonly 'tokenizer_config.json': Readonly<Record<string, unknown>>;
}

/**
 * Makes the tokenizer.json of a folder that has none, from its `tokenizer.model`, its `vocab.json` with `merges.txt` or
 * its `tekken.json`, and the tokenizer_config.json to go with it. Nothing is written.
 * @throws SdaError `file-missing` where the folder has none of them, `bad-tokenizer` for a malformed file, `unsupported`
 * where a tokenizer.json could not give the same tokens; all name the file
 */
export async function tokenizerFiles(dir: string): Promise<TokenizerFiles> {
  requireVocabulary(dir);
  const settings = await loadSettings(dir);
  const tekken = join(dir, TEKKEN_FILE);
  const text = await readTextFileIfPresent(tekken, 'bad-tokenizer');
  if (text !== null) {
    const made = fromTekken(parseJson(text, tekken, 'bad-tokenizer'), tekken);
    const config = { ...made['tokenizer_config.json'], ...settings.raw };
    return { ...made, 'tokenizer_config.json': config };
  }
  const kind = tokenizerClass(settings);
  const made =
    kind.vocabulary === 'tokenizer.model'
      ? await sentencePieceParts(settings, kind)
      : await byteLevelParts(settings, kind);
  return {
    'tokenizer.json': {
      version: '1.0',
      truncation: null,
      padding: null,
      added_tokens: made.added.tokens,
      ...made.parts,
      post_processor: postProcessor(settings, kind, made.added),
    },
    'tokenizer_config.json': {
      tokenizer_class: kind.name,
      ...made.added.roles,
      ...settings.raw,
      ...(settings.moreSpecialTokens.length > 0 && {
        additional_special_tokens: [
          ...settings.config.extraSpecialTokens,
          ...settings.moreSpecialTokens,
        ],
      }),
    },
  };
}

/** A folder without a vocabulary has no tokenizer, of whatever class. */
function requireVocabulary(dir: string): void {
  const names = readdirSync(dir);
  const known = [TEKKEN_FILE, 'vocab.json'];
  if (names.some((name) => known.includes(name) || SENTENCEPIECE_FILE.test(name))) return;
  throw new SdaError(
    'file-missing',
    `${dir} has no tokenizer: neither tokenizer.json nor tokenizer.model, vocab.json or tekken.json; download it as well.`,
  );
}

/** All of a tokenizer.json that depends on the kind of its vocabulary. */
interface Made {
  readonly added: AddedTokens;
  readonly parts: Readonly<Record<string, unknown>>;
}

async function sentencePieceParts(
  settings: TokenizerSettings,
  kind: TokenizerClass,
): Promise<Made> {
  const file = join(settings.dir, sentencePieceFile(settings.dir));
  const bytes = await readBytesIfPresent(file, 'bad-tokenizer');
  if (bytes === null) throw missing(settings.dir, kind);
  const model = parseSentencePiece(bytes, file);
  const vocabulary = new Map(model.pieces.map(({ text }, id) => [text, id]));
  const own = model.pieces.flatMap(({ text, type }, id) =>
    type === 'control' || type === 'unknown' ? [{ id, content: text }] : [],
  );
  const added = addedTokensOf(settings, kind, vocabulary, own);
  return { added, parts: fromSentencePiece(model, settings, added.tokens) };
}

/** The plain one, or the last of Mistral's versions. */
function sentencePieceFile(dir: string): string {
  const names = readdirSync(dir);
  if (names.includes('tokenizer.model')) return 'tokenizer.model';
  return (
    names
      .filter((name) => SENTENCEPIECE_FILE.test(name))
      .sort()
      .at(-1) ?? 'tokenizer.model'
  );
}

async function byteLevelParts(settings: TokenizerSettings, kind: TokenizerClass): Promise<Made> {
  const file = join(settings.dir, 'vocab.json');
  const text = await readTextFileIfPresent(file, 'bad-tokenizer');
  if (text === null) throw missing(settings.dir, kind);
  const ids = parseVocabulary(parseJson(text, file, 'bad-tokenizer'), file);
  const mergesFile = join(settings.dir, 'merges.txt');
  const merges = parseMerges(await readTextFile(mergesFile, 'bad-tokenizer'), ids, mergesFile);
  const added = addedTokensOf(settings, kind, ids, []);
  return { added, parts: fromByteLevel({ ids, merges }, settings, kind) };
}

function missing(dir: string, kind: TokenizerClass): SdaError {
  return new SdaError(
    'file-missing',
    `${dir} has neither tokenizer.json nor ${kind.vocabulary}, of which ${kind.name} makes its tokens; download it as well.`,
  );
}

/** Wraps a text in the beginning-of-text and end-of-text tokens that the class or tokenizer_config.json asks for. */
function postProcessor(
  settings: TokenizerSettings,
  kind: TokenizerClass,
  { tokens, roles }: AddedTokens,
): unknown {
  const token = (role: string, wanted: boolean) => {
    if (!wanted) return [];
    const found = tokens.find(({ content }) => content === roles[role]);
    if (found) return [found];
    throw new SdaError(
      'bad-tokenizer',
      `${settings.config.file} has texts wrapped in the ${role}, which it does not name; name it there, or set add_${role} to false.`,
    );
  };
  const bos = token('bos_token', settings.raw.add_bos_token ?? kind.addBos);
  const eos = token('eos_token', settings.raw.add_eos_token ?? kind.addEos);
  return wrapping(bos, eos);
}
