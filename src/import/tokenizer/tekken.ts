import { z } from 'zod';
import { describeIssues } from '../../checkpoint/json-file.js';
import { SdaError } from '../../errors.js';
import { MAX_ID } from '../../text/limits.js';
import { BYTE_OF_CHARACTER } from '../../text/token-decoder.js';
import { byteLevelBpe } from './bpe-model.js';
import type { TokenizerFiles } from './files.js';
import { splitsOf } from './merges.js';
import { wrapping } from './wrapping.js';

export const TEKKEN_FILE = 'tekken.json';

const count = z.int().nonnegative().max(MAX_ID);
const schema = z.looseObject({
  config: z.looseObject({
    pattern: z.string(),
    default_vocab_size: count.nullish(),
    default_num_special_tokens: count.nullish(),
  }),
  vocab: z.array(z.looseObject({ rank: count, token_bytes: z.base64() })).max(MAX_ID),
  special_tokens: z.array(z.looseObject({ rank: count, token_str: z.string().min(1) })).nullish(),
});

/** Longest token, in bytes: deriving merges takes its square. Tekken's have up to 128. */
const MAX_TOKEN = 512;

/** Special tokens of files that list none, which are the older ones. Source: mistral-common 1.13. */
const OLDER_SPECIAL_TOKENS = [
  ...['<unk>', '<s>', '</s>', '[INST]', '[/INST]', '[AVAILABLE_TOOLS]', '[/AVAILABLE_TOOLS]'],
  ...['[TOOL_RESULTS]', '[/TOOL_RESULTS]', '[TOOL_CALLS]', '[IMG]', '<pad>', '[IMG_BREAK]'],
  ...['[IMG_END]', '[PREFIX]', '[MIDDLE]', '[SUFFIX]', '[SYSTEM_PROMPT]', '[/SYSTEM_PROMPT]'],
  '[TOOL_CONTENT]',
];
const ROLES = { bos_token: '<s>', eos_token: '</s>', unk_token: '<unk>', pad_token: '<pad>' };

/**
 * tokenizer.json and tokenizer_config.json from a tekken.json of Mistral: byte-level BPE whose merges are the ranks of
 * tokens, after the special tokens. A text gets the beginning-of-text token before it.
 * @param json the parsed file
 * @throws SdaError `bad-tokenizer`
 */
export function fromTekken(json: unknown, file: string): TokenizerFiles {
  const parsed = schema.safeParse(json);
  if (!parsed.success) throw malformed(file, describeIssues(parsed.error));
  const { config, vocab, special_tokens } = parsed.data;
  const special = specialTokens(special_tokens, config.default_num_special_tokens, file);
  const size = config.default_vocab_size ?? vocab.length + special.length;
  const tokens = vocab.slice(0, Math.max(0, size - special.length));
  const ranks = ranksOf(tokens, size - special.length, file);
  const roles = Object.fromEntries(
    Object.entries(ROLES).filter(([, content]) => special.includes(content)),
  );
  const bos = special.indexOf(ROLES.bos_token);
  const byteLevel = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: false };
  return {
    'tokenizer.json': {
      version: '1.0',
      truncation: null,
      padding: null,
      added_tokens: special.map((content, id) => ({
        id,
        content,
        single_word: false,
        lstrip: false,
        rstrip: false,
        normalized: false,
        special: true,
      })),
      normalizer: null,
      pre_tokenizer: {
        type: 'Sequence',
        pretokenizers: [
          {
            type: 'Split',
            pattern: { Regex: config.pattern },
            behavior: 'Isolated',
            invert: false,
          },
          { ...byteLevel, use_regex: false },
        ],
      },
      post_processor: wrapping(bos < 0 ? [] : [{ id: bos, content: ROLES.bos_token }]),
      decoder: { ...byteLevel, use_regex: true },
      model: byteLevelBpe({
        vocab: Object.fromEntries([
          ...[...ranks].map(([text, rank]) => [text, rank + special.length] as const),
          ...special.map((content, id) => [content, id] as const),
        ]),
        merges: [...ranks.keys()].flatMap((token) => splitsOf(token, ranks)),
        wholeWords: true,
      }),
    },
    'tokenizer_config.json': {
      ...roles,
      add_bos_token: bos >= 0,
      clean_up_tokenization_spaces: false,
      tokenizer_class: 'PreTrainedTokenizerFast',
    },
  };
}

/** By their ids, filled up to their number as mistral-common does. */
function specialTokens(
  listed: readonly { readonly rank: number; readonly token_str: string }[] | null | undefined,
  number: number | null | undefined,
  file: string,
): readonly string[] {
  const own = listed
    ? [...listed].sort((a, b) => a.rank - b.rank).map(({ token_str }) => token_str)
    : OLDER_SPECIAL_TOKENS;
  if (listed?.some(({ token_str, rank }) => own[rank] !== token_str)) {
    throw malformed(file, 'the ranks of special_tokens are not 0, 1, 2 and so on');
  }
  const all = Array.from(
    { length: Math.max(own.length, number ?? 0) },
    (_, id) => own[id] ?? `<SPECIAL_${id}>`,
  );
  if (new Set(all).size !== all.length) throw malformed(file, 'a special token stands twice');
  if (number != null && number < own.length) {
    throw malformed(file, `${own.length} special tokens where it names ${number}`);
  }
  return all;
}

/** The ranks of tokens, each written with a character for a byte. */
function ranksOf(
  tokens: readonly { readonly rank: number; readonly token_bytes: string }[],
  number: number,
  file: string,
): ReadonlyMap<string, number> {
  if (tokens.length !== number) {
    throw malformed(file, `${tokens.length} tokens where its sizes leave room for ${number}`);
  }
  const ranks = new Map<string, number>();
  for (const [i, { rank, token_bytes }] of tokens.entries()) {
    const bytes = Buffer.from(token_bytes, 'base64');
    if (rank !== i || bytes.length === 0 || bytes.length > MAX_TOKEN) {
      throw malformed(file, `its token ${i} has the rank ${rank} and ${bytes.length} bytes`);
    }
    ranks.set(Array.from(bytes, (byte) => CHARACTERS[byte]).join(''), i);
  }
  if (ranks.size !== tokens.length) throw malformed(file, 'a token stands twice');
  return ranks;
}

const CHARACTERS: readonly string[] = [...BYTE_OF_CHARACTER]
  .sort(([, a], [, b]) => a - b)
  .map(([character]) => character);

function malformed(file: string, why: string): SdaError {
  return new SdaError(
    'bad-tokenizer',
    `${file} is no tokenizer of Mistral's (${why}); download it again.`,
  );
}
