import { basename, join } from 'node:path';
import { z } from 'zod';
import { SdaError } from '../../errors.js';
import { describeIssues, parseJson, readTextFile } from '../json-file.js';
import { patternOf } from './pattern.js';

/** What adapter_config.json says of a LoRA adapter. */
export interface AdapterConfig {
  readonly file: string;
  /** The name of the model that it was trained on, without its owner; null where it is not said */
  readonly baseModel: string | null;
  /** Rank and scale of a module, such as `model.layers.0.self_attn.q_proj` */
  scaling(module: string): { readonly rank: number; readonly scale: number };
}

const positive = z.number().positive();
const pattern = <T extends z.ZodType>(value: T) => z.record(z.string(), value).nullish();
const schema = z.looseObject({
  peft_type: z.string(),
  task_type: z.string().nullish(),
  base_model_name_or_path: z.string().nullish(),
  r: z.int().positive(),
  lora_alpha: positive,
  use_rslora: z.boolean().nullish(),
  rank_pattern: pattern(z.int().positive()),
  alpha_pattern: pattern(positive),
  init_lora_weights: z.union([z.boolean(), z.string()]).nullish(),
});
type RawConfig = z.infer<typeof schema>;

/** Settings that make more of the weights than W + scale B A, or of other weights. */
const OTHER_METHODS: Readonly<Record<string, string>> = {
  use_dora: 'DoRA',
  use_qalora: 'QALoRA',
  use_bdlora: 'BD-LoRA',
  lora_bias: 'biases of the adapter (lora_bias)',
  layer_replication: 'replicated layers (layer_replication)',
  target_parameters: 'parameters that are no modules (target_parameters)',
  trainable_token_indices: 'trained tokens (trainable_token_indices)',
  alora_invocation_tokens: 'aLoRA',
  arrow_config: 'Arrow',
  monteclora_config: 'MonteCLoRA',
  kasa_config: 'KaSA',
  velora_config: 'VeLoRA',
  megatron_config: "Megatron's layers",
};

/** Beginnings of training that leave the base model's weights as they are. */
const PLAIN_BEGINNINGS = [true, false, 'gaussian', 'eva', 'orthogonal'];

/**
 * Reads the adapter_config.json of an adapter of PEFT.
 * @throws SdaError `file-missing`, `bad-config`; `unsupported` for what is no plain LoRA, by its name
 */
export async function readAdapterConfig(dir: string): Promise<AdapterConfig> {
  const file = join(dir, 'adapter_config.json');
  const parsed = schema.safeParse(
    parseJson(await readTextFile(file, 'bad-config'), file, 'bad-config'),
  );
  if (!parsed.success) {
    throw new SdaError(
      'bad-config',
      `${file} is no configuration of an adapter (${describeIssues(parsed.error)}); give a folder that PEFT saved.`,
    );
  }
  const raw = parsed.data;
  refuseOthers(raw, file);
  const ranks = patterns(raw.rank_pattern, file);
  const alphas = patterns(raw.alpha_pattern, file);
  const named = raw.base_model_name_or_path;
  return {
    file,
    baseModel: named ? basename(named) : null,
    scaling(module) {
      const rank = ranks(module) ?? raw.r;
      const alpha = alphas(module) ?? raw.lora_alpha;
      return { rank, scale: alpha / (raw.use_rslora ? Math.sqrt(rank) : rank) };
    },
  };
}

function refuseOthers(raw: RawConfig, file: string): void {
  const refused = (what: string) =>
    new SdaError(
      'unsupported',
      `${file} describes ${what} where plain LoRA can be merged; merge it with PEFT's merge_and_unload.`,
    );
  if (raw.peft_type !== 'LORA') throw refused(`an adapter of the kind ${raw.peft_type}`);
  const task = raw.task_type ?? 'CAUSAL_LM';
  if (task !== 'CAUSAL_LM') throw refused(`an adapter for the task ${task}`);
  for (const [key, method] of Object.entries(OTHER_METHODS)) {
    const value = raw[key];
    if (value != null && value !== false) throw refused(method);
  }
  const beginning = raw.init_lora_weights ?? true;
  if (!PLAIN_BEGINNINGS.includes(beginning)) {
    throw refused(`an adapter for a base model that was changed (init_lora_weights ${beginning})`);
  }
}

/** The value of the first pattern that a module's name fits. */
function patterns(
  values: Readonly<Record<string, number>> | null | undefined,
  file: string,
): (module: string) => number | undefined {
  const compiled = Object.entries(values ?? {}).map(
    ([pattern, value]) => [patternOf(pattern, file), value] as const,
  );
  return (module) => compiled.find(([pattern]) => pattern.test(module))?.[1];
}
