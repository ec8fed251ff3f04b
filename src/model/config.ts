import { dirname, join } from 'node:path';
import { z } from 'zod';
import {
  describeIssues,
  parseJson,
  readTextFile,
  readTextFileIfPresent,
} from '../checkpoint/json-file.js';
import { SdaError } from '../errors.js';
import { type Ending, unionOfEndings } from './endings.js';
import { FAMILIES, type Family, type ModelType, type QkNorm } from './family.js';
import { parseFields, parseRotatedLayers, parseScales, type Scales } from './family-fields.js';
import { checkKind } from './kind.js';
import { Problems } from './problems.js';
import { quantisationMethod } from './quantised.js';
import { contextLength, parseRope, type RopeConfig, ropeFields } from './rope-config.js';

export type { RopeConfig } from './rope-config.js';

/** A decoder's architecture: config.json, validated and with every default filled in. */
export interface ModelConfig extends Scales {
  readonly modelType: ModelType;
  readonly vocabSize: number;
  readonly hiddenSize: number;
  readonly intermediateSize: number;
  readonly numLayers: number;
  readonly numHeads: number;
  /** Divides numHeads. */
  readonly numKeyValueHeads: number;
  /** Even; not always hiddenSize / numHeads. */
  readonly headDim: number;
  /** Of all norms; those of the residual stream as it is kept, see `parseScales`. */
  readonly rmsNormEps: number;
  readonly rope: RopeConfig;
  /** Dimensions of a head that are rotated, its first ones; even. */
  readonly rotaryDim: number;
  /** Per layer, whether it rotates queries and keys: [numLayers]. */
  readonly rotatedLayers: readonly boolean[];
  readonly maxPositionEmbeddings: number;
  /** Positions that the model was made for, scaled rotary embeddings counted. */
  readonly contextLength: number;
  readonly tieWordEmbeddings: boolean;
  /** Of q, k and v. */
  readonly attentionBias: boolean;
  /** Of o. */
  readonly attentionOutputBias: boolean;
  readonly mlpBias: boolean;
  /** RMSNorm of q and k before the rotation. */
  readonly qkNorm: QkNorm;
  /** RMSNorm of what attention and the MLP add, and not of what they take. */
  readonly normsAfter: boolean;
  /** q, k and v are one matrix of the checkpoint, and so are gate and up. */
  readonly fusedProjections: boolean;
  /** Positions that a sliding layer sees, its own included; null where no layer slides. */
  readonly slidingWindow: number | null;
  /** Per layer, whether it sees only the window: [numLayers]. */
  readonly slidingWindowLayers: readonly boolean[];
  /** Tokens that end a text; the tokenizer may name another, see `allEndings`. */
  readonly endings: readonly Ending[];
  readonly bosTokenId: number | null;
  readonly padTokenId: number | null;
  /** The dtype that the checkpoint was saved in, as it names it. */
  readonly dtype: string | null;
  /** How it says that its weights are quantised, which only the tensors can tell; null where it does not. */
  readonly quantisation: string | null;
  /** The whole of what it says of that */
  readonly quantisationConfig: Readonly<Record<string, unknown>> | null;
}

/** Largest count of layers that is believed; published models have up to 126. */
const MAX_LAYERS = 10_000;
/** Largest size of any axis: the kernels count in int32. */
const MAX_SIZE = 2 ** 31 - 1;
const size = z.number().int().positive().max(MAX_SIZE);
/** Old conversions write -1 for "none". */
const tokenId = z
  .number()
  .int()
  .transform((id) => (id < 0 ? null : id))
  .nullish();
const eosSchema = z.union([z.number().int(), z.array(z.number().int())]).nullish();

const configSchema = z.object({
  architectures: z.array(z.string()).nullish(),
  vocab_size: size,
  hidden_size: size,
  intermediate_size: size,
  num_hidden_layers: size.max(MAX_LAYERS),
  num_attention_heads: size,
  num_key_value_heads: size.nullish(),
  head_dim: size.nullish(),
  hidden_act: z.string().nullish(),
  rms_norm_eps: z.number().min(1e-30).max(1).nullish(), // positive as float32, too
  max_position_embeddings: size.min(2).nullish(), // a prompt and a token
  tie_word_embeddings: z.boolean().nullish(),
  attention_bias: z.boolean().nullish(),
  mlp_bias: z.boolean().nullish(),
  use_sliding_window: z.boolean().nullish(),
  sliding_window: size.nullish(),
  max_window_layers: z.number().int().nonnegative().nullish(),
  layer_types: z.array(z.string()).nullish(),
  eos_token_id: eosSchema,
  bos_token_id: tokenId,
  pad_token_id: tokenId,
  dtype: z.string().nullish(),
  torch_dtype: z.string().nullish(),
  quantization_config: z.record(z.string(), z.unknown()).nullish(),
  ...ropeFields,
});
type RawConfig = z.infer<typeof configSchema>;

const generationSchema = z.object({ eos_token_id: eosSchema });

/**
 * Reads config.json, and generation_config.json where there is one, from a Hugging Face folder.
 * @throws SdaError as {@link parseConfig}; `file-missing` where there is no config.json.
 */
export function loadConfig(dir: string): Promise<ModelConfig> {
  return loadConfigFile(join(dir, 'config.json'));
}

/** The same for a config.json under any name; generation_config.json is looked for beside it. */
export async function loadConfigFile(file: string): Promise<ModelConfig> {
  const json = parseJson(await readTextFile(file, 'bad-config'), file, 'bad-config');
  const generationFile = join(dirname(file), 'generation_config.json');
  const generation = await readTextFileIfPresent(generationFile, 'bad-config');
  return parseConfig(json, {
    file,
    ...(generation !== null && {
      generationConfig: parseJson(generation, generationFile, 'bad-config'),
    }),
  });
}

/** Options of {@link parseConfig}. */
export interface ParseConfigOptions {
  /** Named in errors. */
  readonly file: string;
  /** The parsed generation_config.json. */
  readonly generationConfig?: unknown;
}

/**
 * Validates a parsed config.json, of transformers 4 or 5.
 * @throws SdaError `bad-config` that names the key, what was expected and found; `unsupported` for
 *   another architecture, activation or attention. Independent problems come
 *   together in one message.
 */
export function parseConfig(json: unknown, options: ParseConfigOptions): ModelConfig {
  const { file } = options;
  const problems = new Problems();
  const modelType = checkKind(json, file, problems);
  const raw = problems.attempt(() => parseFields(configSchema, json, file));
  if (!modelType || !raw) {
    problems.throwIfAny();
    throw new Error('a configuration without a type or fields has a problem');
  }

  const family: Family = FAMILIES[modelType];
  const maxPositionEmbeddings = raw.max_position_embeddings ?? family.defaultMaxPositionEmbeddings;
  const fromConfig = (rule: 'always' | 'never' | 'config', flag: boolean | null | undefined) =>
    rule === 'config' ? flag === true : rule === 'always';
  const heads = problems.attempt(() => parseHeads(raw, json, family, file));
  const headDim = heads?.headDim;
  const rope = problems.attempt(() =>
    parseRope(raw, { file, family, maxPositionEmbeddings, headDim }),
  );
  const rotated = problems.attempt(() =>
    parseRotatedLayers(json, raw.num_hidden_layers, family, file),
  );
  const window = problems.attempt(() => parseSlidingWindow(raw, json, family, rotated, file));
  const epsilon = raw.rms_norm_eps ?? family.defaultRmsNormEps;
  const scales = problems.attempt(() => parseScales(json, epsilon, family, file));
  const endings = problems.attempt(() => parseEndings(raw, options));
  problems.throwIfAny();
  return {
    modelType,
    vocabSize: raw.vocab_size,
    hiddenSize: raw.hidden_size,
    intermediateSize: raw.intermediate_size,
    numLayers: raw.num_hidden_layers,
    ...heads!,
    ...scales!,
    ...rope!,
    rotatedLayers: rotated!,
    maxPositionEmbeddings,
    contextLength: contextLength(rope!.rope, maxPositionEmbeddings),
    tieWordEmbeddings: raw.tie_word_embeddings ?? family.defaultTieWordEmbeddings,
    attentionBias: fromConfig(family.attentionBias, raw.attention_bias),
    attentionOutputBias: fromConfig(family.attentionOutputBias, raw.attention_bias),
    mlpBias: fromConfig(family.mlpBias, raw.mlp_bias),
    qkNorm: family.qkNorm,
    normsAfter: family.normsAfter,
    fusedProjections: family.fusedProjections,
    ...window!,
    endings: endings!,
    bosTokenId: raw.bos_token_id ?? null,
    padTokenId: raw.pad_token_id ?? null,
    dtype: raw.dtype ?? raw.torch_dtype ?? null,
    quantisation: quantisationMethod(raw.quantization_config),
    quantisationConfig: raw.quantization_config ?? null,
  };
}

function parseHeads(raw: RawConfig, json: unknown, family: Family, file: string) {
  const numHeads = raw.num_attention_heads;
  const absent = !Object.hasOwn(json as object, 'num_key_value_heads');
  const byDefault = absent ? family.defaultKeyValueHeads : null;
  const numKeyValueHeads = raw.num_key_value_heads ?? byDefault ?? numHeads;
  if (numHeads % numKeyValueHeads !== 0) {
    throw new SdaError(
      'bad-config',
      `${file} has ${byDefault === null ? '' : "by its model_type's default "}num_key_value_heads ${numKeyValueHeads} where a divisor of num_attention_heads ${numHeads} is needed; ${byDefault === null ? 'correct' : 'give'} it.`,
    );
  }
  const headDim = raw.head_dim ?? family.defaultHeadDim ?? raw.hidden_size / numHeads;
  if (!Number.isInteger(headDim)) {
    throw new SdaError(
      'bad-config',
      `${file} has hidden_size ${raw.hidden_size} where a multiple of num_attention_heads ${numHeads} is needed, as it has no head_dim; correct one of them.`,
    );
  }
  if (numHeads * headDim > MAX_SIZE) {
    throw new SdaError(
      'bad-config',
      `${file} has ${numHeads} heads of size ${headDim}, together more than ${MAX_SIZE}; correct num_attention_heads or head_dim.`,
    );
  }
  if (headDim % 2 !== 0) {
    throw new SdaError(
      'bad-config',
      `${file} has heads of size ${headDim} where rotary embeddings need an even size; correct head_dim.`,
    );
  }
  return { numHeads, numKeyValueHeads, headDim };
}

function parseSlidingWindow(
  raw: RawConfig,
  json: unknown,
  family: Family,
  rotated: readonly boolean[] | undefined,
  file: string,
) {
  const numLayers = raw.num_hidden_layers;
  const types = raw.layer_types ?? null;
  const layers = (rule: (layer: number) => boolean) =>
    Array.from({ length: numLayers }, (_, layer) => rule(layer));
  checkLayerTypes(types, numLayers, file);

  const absent = !Object.hasOwn(json as object, 'sliding_window');
  const given = absent ? family.defaultSlidingWindow : (raw.sliding_window ?? null);
  const used = family.slidingWindow === 'all' || raw.use_sliding_window === true;
  const window = family.slidingWindow !== 'none' && used ? given : null;
  if (window === null && types?.includes('sliding_attention')) {
    throw new SdaError(
      'bad-config',
      `${file} has sliding layers in layer_types but no sliding window in use; set sliding_window (and use_sliding_window) or correct layer_types.`,
    );
  }
  if (window === null) return { slidingWindow: null, slidingWindowLayers: layers(() => false) };

  const from = family.slidingWindow === 'all' ? 0 : (raw.max_window_layers ?? 28);
  const slides = (layer: number) =>
    family.slidingWindow === 'layers-without-rotation' ? rotated?.[layer] === false : layer >= from;
  const slidingWindowLayers = layers((layer) =>
    types ? types[layer] === 'sliding_attention' : slides(layer),
  );
  const any = slidingWindowLayers.includes(true);
  return { slidingWindow: any ? window : null, slidingWindowLayers };
}

function checkLayerTypes(types: readonly string[] | null, numLayers: number, file: string): void {
  if (!types) return;
  if (types.length !== numLayers) {
    throw new SdaError(
      'bad-config',
      `${file} has ${types.length} layer_types where num_hidden_layers is ${numLayers}; correct one of them.`,
    );
  }
  const odd = types.find((type) => type !== 'full_attention' && type !== 'sliding_attention');
  if (odd !== undefined) {
    throw new SdaError(
      'unsupported',
      `${file} has a layer of type "${odd}" where full_attention and sliding_attention are supported.`,
    );
  }
}

function parseEndings(raw: RawConfig, options: ParseConfigOptions): readonly Ending[] {
  const generation = generationSchema.safeParse(options.generationConfig ?? {});
  if (!generation.success) {
    throw new SdaError(
      'bad-config',
      `The generation_config.json beside ${options.file} is not valid (${describeIssues(generation.error)}); correct it or download it again.`,
    );
  }
  return unionOfEndings([
    ['generation_config.json', [generation.data.eos_token_id].flat()],
    ['config.json', [raw.eos_token_id].flat()],
  ]);
}
