import { join } from 'node:path';
import { z } from 'zod';
import { describeIssues, parseJson, readTextFileIfPresent } from '../checkpoint/json-file.js';
import { SdaError } from '../errors.js';

/** A special token is its text, or an object that holds it. */
const tokenText = z
  .union([z.string(), z.object({ content: z.string() }).transform(({ content }) => content)])
  .nullish();

const ROLES = ['bos_token', 'eos_token', 'unk_token', 'pad_token'] as const;
const roleFields = {
  bos_token: tokenText,
  eos_token: tokenText,
  unk_token: tokenText,
  pad_token: tokenText,
};
const mapSchema = z.object(roleFields);
const extraTokens = z.array(tokenText).nullish().catch(null);
const configSchema = z.object({
  ...roleFields,
  additional_special_tokens: extraTokens,
  extra_special_tokens: extraTokens,
  added_tokens_decoder: z
    .record(
      z.string().regex(/^\d{1,9}$/),
      z.object({
        content: z.string(),
        special: z.boolean().default(false),
        lstrip: z.boolean().default(false),
        rstrip: z.boolean().default(false),
        normalized: z.boolean().default(false),
        single_word: z.boolean().default(false),
      }),
    )
    .nullish(),
  chat_template: z
    .union([z.string(), z.array(z.object({ name: z.string(), template: z.string() }))])
    .nullish(),
});

/** What tokenizer_config.json (and the older special_tokens_map.json) says that matters here. */
export interface TokenizerConfig {
  readonly file: string;
  /** The special tokens by role, as templates and transformers name them. */
  readonly roles: Readonly<Partial<Record<(typeof ROLES)[number], string>>>;
  /** Special tokens without a role. */
  readonly extraSpecialTokens: readonly string[];
  readonly addedTokens: readonly AddedTokenConfig[];
  readonly chatTemplate: string | readonly { name: string; template: string }[] | null;
}

/** A token that is cut out of a text before the rest is tokenized. */
export interface AddedTokenConfig {
  readonly id: number;
  readonly content: string;
  readonly special: boolean;
  readonly lstrip: boolean;
  readonly rstrip: boolean;
  readonly normalized: boolean;
  readonly single_word: boolean;
}

/**
 * Reads tokenizer_config.json, and special_tokens_map.json for roles that it does not give. A missing
 * file is an empty one.
 * @throws SdaError `bad-tokenizer` that names the file and the key.
 */
export async function loadTokenizerConfig(dir: string): Promise<TokenizerConfig> {
  const file = join(dir, 'tokenizer_config.json');
  const config = await parseIfPresent(file, configSchema);
  const map = await parseIfPresent(join(dir, 'special_tokens_map.json'), mapSchema);
  const roles: Partial<Record<(typeof ROLES)[number], string>> = {};
  for (const role of ROLES) {
    const text = config?.[role] === undefined ? map?.[role] : config[role];
    if (text) roles[role] = text;
  }
  const extra = [
    ...(config?.additional_special_tokens ?? []),
    ...(config?.extra_special_tokens ?? []),
  ];
  return {
    file,
    roles,
    extraSpecialTokens: extra.filter((text): text is string => Boolean(text)),
    addedTokens: Object.entries(config?.added_tokens_decoder ?? {}).map(([id, token]) => ({
      id: Number(id),
      ...token,
    })),
    chatTemplate: config?.chat_template ?? null,
  };
}

async function parseIfPresent<T>(file: string, schema: z.ZodType<T>): Promise<T | null> {
  const text = await readTextFileIfPresent(file, 'bad-tokenizer');
  if (text === null) return null;
  const parsed = schema.safeParse(parseJson(text, file, 'bad-tokenizer'));
  if (parsed.success) return parsed.data;
  throw new SdaError(
    'bad-tokenizer',
    `${file} is not a tokenizer configuration (${describeIssues(parsed.error)}); download it again.`,
  );
}
