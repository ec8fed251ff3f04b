import { SdaError } from '../../errors.js';
import { byteLevelBpe } from '../tokenizer/bpe-model.js';
import { fromSentencePiece } from '../tokenizer/from-sentencepiece.js';
import type { PieceType } from '../tokenizer/sentencepiece.js';
import { type WrappingToken, wrapping } from '../tokenizer/wrapping.js';
import type { Metadata } from './metadata.js';
import { wordCutting } from './words.js';

/** Kinds of a token in `tokenizer.ggml.token_type`, from 1 on. Source: llama.cpp's llama.h. */
const KINDS: readonly PieceType[] = [
  'normal',
  'unknown',
  'control',
  'user-defined',
  'unused',
  'byte',
];

/** What llama.cpp's converters name the rows of an embedding that no token has. */
const PADDING = /^\[PAD\d+\]$/;

interface Vocabulary {
  readonly tokens: readonly string[];
  readonly kinds: readonly PieceType[];
  readonly added: readonly AddedToken[];
}

interface AddedToken {
  readonly id: number;
  readonly content: string;
  readonly special: boolean;
  readonly single_word: false;
  readonly lstrip: false;
  /** Whether spaces after it go */
  readonly rstrip: boolean;
  readonly normalized: false;
}

/**
 * tokenizer.json and tokenizer_config.json from a GGUF file's metadata: byte-level BPE (`gpt2`) or SentencePiece's
 * BPE (`llama`).
 * @throws SdaError `unsupported` for another model or another way to cut words; `bad-tokenizer`.
 */
export function ggufTokenizer(metadata: Metadata): Readonly<Record<string, unknown>> {
  const model = metadata.text('tokenizer.ggml.model');
  if (model !== 'gpt2' && model !== 'llama') {
    throw new SdaError(
      'unsupported',
      `${metadata.file} has a tokenizer of the kind ${JSON.stringify(model)} where gpt2 and llama are read; copy tokenizer.json of the published model.`,
    );
  }
  const vocabulary = readVocabulary(metadata);
  const roles = specialTokens(metadata, vocabulary.tokens);
  const bos = metadata.flagIf('tokenizer.ggml.add_bos_token') ?? model === 'llama';
  const parts =
    model === 'gpt2' ? byteLevel(metadata, vocabulary) : sentencePiece(metadata, vocabulary);
  return {
    'tokenizer.json': {
      version: '1.0',
      truncation: null,
      padding: null,
      added_tokens: vocabulary.added,
      ...parts,
      post_processor: wrapping(bos ? [beginning(vocabulary, roles.bos_token, metadata)] : []),
    },
    'tokenizer_config.json': {
      add_bos_token: bos,
      added_tokens_decoder: Object.fromEntries(
        vocabulary.added.map(({ id, ...token }) => [id, token]),
      ),
      ...roles,
      ...(metadata.has('tokenizer.chat_template') && {
        chat_template: metadata.text('tokenizer.chat_template'),
      }),
      clean_up_tokenization_spaces: false,
      ...contextOf(metadata),
      tokenizer_class: 'PreTrainedTokenizerFast',
    },
  };
}

/** The longest text that transformers takes without a warning. */
function contextOf(metadata: Metadata): { model_max_length?: number } {
  const architecture = metadata.textIf('general.architecture');
  const context = metadata.numberIf(`${architecture}.context_length`);
  return context === null ? {} : { model_max_length: context };
}

/** Added tokens of Phi-3's SentencePiece model after which spaces stay; GGUF has no word for it. Source: llama.cpp. */
const KEEPING = ['<unk>', '<s>', '<|endoftext|>'];

function readVocabulary(metadata: Metadata): Vocabulary {
  const stripping =
    metadata.textIf('general.architecture') === 'phi3' &&
    metadata.text('tokenizer.ggml.model') === 'llama';
  const tokens = metadata.texts('tokenizer.ggml.tokens');
  const numbers = metadata.numbersIf('tokenizer.ggml.token_type') ?? tokens.map(() => 1);
  const kinds = tokens.map((_, id) => KINDS[numbers[id]! - 1] ?? 'normal');
  if (new Set(tokens).size !== tokens.length) throw malformed(metadata, 'a token twice');
  if (numbers.length !== tokens.length) throw malformed(metadata, 'not one kind for each token');
  const added = tokens.flatMap((content, id): AddedToken[] => {
    const special = kinds[id] === 'control' || kinds[id] === 'unknown';
    if (!special && kinds[id] !== 'user-defined') return [];
    const plain = { single_word: false, lstrip: false, normalized: false } as const;
    return [{ id, content, special, rstrip: stripping && !KEEPING.includes(content), ...plain }];
  });
  return { tokens, kinds, added };
}

/** Ways to cut words of vocabularies that come from tiktoken, where a word that is a token is not merged. */
const WHOLE_WORDS: readonly string[] = ['llama-bpe', 'tekken'];

function byteLevel(metadata: Metadata, { tokens, kinds }: Vocabulary) {
  const vocab = new Map<string, number>();
  for (const [id, token] of tokens.entries()) {
    if (kinds[id] !== 'unused' || !PADDING.test(token)) vocab.set(token, id);
  }
  const merges = metadata.texts('tokenizer.ggml.merges').map((merge) => {
    // a space in a token is written as another character, so the first one parts the two
    const at = merge.indexOf(' ', 1);
    const pair = [merge.slice(0, at), merge.slice(at + 1)] as const;
    if (at < 0 || [...pair, pair.join('')].some((token) => !vocab.has(token))) {
      throw malformed(
        metadata,
        `the merge ${JSON.stringify(merge)}, which does not fit its tokens`,
      );
    }
    return pair;
  });
  return {
    ...wordCutting(metadata),
    decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: byteLevelBpe({
      vocab: Object.fromEntries(vocab),
      merges,
      wholeWords: WHOLE_WORDS.includes(metadata.textIf('tokenizer.ggml.pre') ?? ''),
    }),
  };
}

function sentencePiece(metadata: Metadata, { tokens, kinds, added }: Vocabulary) {
  const scores = metadata.numbersIf('tokenizer.ggml.scores') ?? [];
  if (scores.length !== tokens.length) throw malformed(metadata, 'no score for each token');
  const unkId = metadata.numberIf('tokenizer.ggml.unknown_token_id') ?? kinds.indexOf('unknown');
  if (tokens[unkId] === undefined) throw malformed(metadata, 'no token for what is unknown');
  const model = {
    kind: 'bpe',
    pieces: tokens.map((text, id) => ({ text, score: scores[id]!, type: kinds[id]! })),
    unkId,
    byteFallback: kinds.includes('byte'),
    addDummyPrefix: metadata.flagIf('tokenizer.ggml.add_space_prefix') ?? true,
    removeExtraWhitespaces: metadata.flagIf('tokenizer.ggml.remove_extra_whitespaces') ?? false,
  } as const;
  return fromSentencePiece(model, { raw: {} }, added);
}

function specialTokens(metadata: Metadata, tokens: readonly string[]): Record<string, string> {
  const roles = { bos: 'bos', eos: 'eos', unk: 'unknown', pad: 'padding' };
  const named: Record<string, string> = {};
  for (const [role, key] of Object.entries(roles)) {
    const token = tokens[metadata.numberIf(`tokenizer.ggml.${key}_token_id`) ?? -1];
    if (token !== undefined) named[`${role}_token`] = token;
  }
  return named;
}

/** The beginning-of-text token. */
function beginning(
  { tokens }: Vocabulary,
  content: string | undefined,
  metadata: Metadata,
): WrappingToken {
  if (content !== undefined) return { id: tokens.indexOf(content), content };
  throw malformed(metadata, 'no token for the beginning of a text');
}

function malformed(metadata: Metadata, what: string): SdaError {
  return new SdaError(
    'bad-tokenizer',
    `${metadata.file} has in its vocabulary ${what}; convert the model again.`,
  );
}
