import { join } from 'node:path';
import { z } from 'zod';
import { describeIssues, parseJson, readTextFileIfPresent } from '../../checkpoint/json-file.js';
import { SdaError } from '../../errors.js';
import { loadTokenizerConfig, type TokenizerConfig } from '../../text/tokenizer-config.js';

const flag = z.boolean().nullish();
const settingsSchema = z.looseObject({
  tokenizer_class: z.string().nullish(),
  legacy: flag,
  add_bos_token: flag,
  add_eos_token: flag,
  add_prefix_space: flag,
  extra_ids: z.number().int().min(0).max(10_000).nullish(),
});
const mapSchema = z.looseObject({
  additional_special_tokens: z
    .array(z.union([z.string(), z.object({ content: z.string() }).transform((t) => t.content)]))
    .nullish(),
});
const modelSchema = z.looseObject({ model_type: z.string().nullish() });
const addedSchema = z.record(z.string().min(1), z.number().int().nonnegative());

/** What a folder says of its tokenizer beside the vocabulary. */
export interface TokenizerSettings {
  readonly dir: string;
  /** tokenizer_config.json as it is, {} without one. */
  readonly raw: Readonly<z.infer<typeof settingsSchema>>;
  readonly config: TokenizerConfig;
  /** Special tokens without a role that only special_tokens_map.json names. */
  readonly moreSpecialTokens: readonly string[];
  /** added_tokens.json, the older form of added_tokens_decoder: tokens and their ids. */
  readonly addedTokens: Readonly<Record<string, number>>;
  /** model_type of config.json. */
  readonly modelType: string | null;
}

/**
 * Reads tokenizer_config.json, special_tokens_map.json, added_tokens.json and config.json; each may be missing.
 * @throws SdaError `bad-tokenizer` that names the file and the key
 */
export async function loadSettings(dir: string): Promise<TokenizerSettings> {
  const config = await loadTokenizerConfig(dir);
  const map = await parsed(dir, 'special_tokens_map.json', mapSchema);
  const model = await parsed(dir, 'config.json', modelSchema);
  return {
    dir,
    raw: (await parsed(dir, 'tokenizer_config.json', settingsSchema)) ?? {},
    config,
    moreSpecialTokens: (map?.additional_special_tokens ?? []).filter(
      (text) => text !== '' && !config.extraSpecialTokens.includes(text),
    ),
    addedTokens: (await parsed(dir, 'added_tokens.json', addedSchema)) ?? {},
    modelType: model?.model_type ?? null,
  };
}

async function parsed<T>(dir: string, name: string, schema: z.ZodType<T>): Promise<T | null> {
  const file = join(dir, name);
  const text = await readTextFileIfPresent(file, 'bad-tokenizer');
  if (text === null) return null;
  const result = schema.safeParse(parseJson(text, file, 'bad-tokenizer'));
  if (result.success) return result.data;
  throw new SdaError(
    'bad-tokenizer',
    `${file} cannot be used for a tokenizer (${describeIssues(result.error)}); download it again.`,
  );
}
