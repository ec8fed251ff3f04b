import { SdaError } from '../../errors.js';
import type { Metadata } from './metadata.js';
import { llama3Scaling } from './rope-factors.js';

/** Architectures of GGUF that are decoders of a family here, with the name of transformers' class. */
const ARCHITECTURES = {
  llama: 'LlamaForCausalLM',
  qwen2: 'Qwen2ForCausalLM',
  qwen3: 'Qwen3ForCausalLM',
} as const;
export type GgufArchitecture = keyof typeof ARCHITECTURES;

/** What the tensors say that the metadata do not. */
export interface TensorFacts {
  /** Rows of the embedding */
  readonly vocabSize: number;
  readonly hasHead: boolean;
  readonly attentionBias: boolean;
  readonly mlpBias: boolean;
  /** The values of `rope_freqs.weight`, which Llama 3 divides its frequencies by */
  readonly ropeFactors: Float32Array | null;
}

/** @throws SdaError `unsupported` for one that is none of them. */
export function architectureOf(metadata: Metadata): GgufArchitecture {
  const name = metadata.text('general.architecture');
  if (Object.hasOwn(ARCHITECTURES, name)) return name as GgufArchitecture;
  throw new SdaError(
    'unsupported',
    `${metadata.file} is of the architecture ${JSON.stringify(name)} where ${Object.keys(ARCHITECTURES).join(', ')} are supported (Mistral's files are of llama).`,
  );
}

/**
 * config.json and generation_config.json of a GGUF file.
 * @throws SdaError `unsupported` for what a decoder here does not do; `bad-config`.
 */
export function ggufConfigs(metadata: Metadata, facts: TensorFacts) {
  const architecture = architectureOf(metadata);
  const of = (key: string) => `${architecture}.${key}`;
  refuseOthers(metadata, architecture);
  const hidden = metadata.number(of('embedding_length'));
  const heads = metadata.number(of('attention.head_count'));
  const headDim = metadata.numberIf(of('attention.key_length')) ?? hidden / heads;
  const rotated = metadata.numberIf(of('rope.dimension_count')) ?? headDim;
  const values = metadata.numberIf(of('attention.value_length')) ?? headDim;
  if (rotated !== headDim || values !== headDim) {
    throw new SdaError(
      'unsupported',
      `${metadata.file} has heads of ${headDim} for queries, ${values} for values and ${rotated} rotated where one size is supported.`,
    );
  }
  const ids = tokenIds(metadata);
  const config = {
    architectures: [ARCHITECTURES[architecture]],
    model_type: architecture,
    ...(architecture !== 'qwen2' && { attention_bias: facts.attentionBias }),
    ...ids,
    head_dim: headDim,
    hidden_act: 'silu',
    hidden_size: hidden,
    intermediate_size: metadata.number(of('feed_forward_length')),
    max_position_embeddings: metadata.number(of('context_length')),
    ...(architecture === 'llama' && { mlp_bias: facts.mlpBias }),
    num_attention_heads: heads,
    num_hidden_layers: metadata.number(of('block_count')),
    num_key_value_heads: metadata.numberIf(of('attention.head_count_kv')) ?? heads,
    rms_norm_eps: shortestFloat(metadata.number(of('attention.layer_norm_rms_epsilon'))),
    ...ropeOf(metadata, architecture, headDim, facts.ropeFactors),
    tie_word_embeddings: !facts.hasHead,
    vocab_size: facts.vocabSize,
  };
  return { config, generationConfig: generationConfig(metadata, ids) };
}

/** What would change the numbers and is not done. */
function refuseOthers(metadata: Metadata, architecture: string): void {
  const experts = metadata.numberIf(`${architecture}.expert_count`) ?? 0;
  if (experts > 0) {
    throw new SdaError(
      'unsupported',
      `${metadata.file} is a mixture of ${experts} experts where one MLP a layer is supported.`,
    );
  }
  const context = metadata.number(`${architecture}.context_length`);
  const window = metadata.numberIf(`${architecture}.attention.sliding_window`) ?? 0;
  if (window > 0 && window < context) {
    throw new SdaError(
      'unsupported',
      `${metadata.file} sees only the last ${window} of its ${context} positions, and GGUF does not say in which layers; import the published safetensors.`,
    );
  }
}

/** The rotary embeddings' part of config.json. */
function ropeOf(
  metadata: Metadata,
  architecture: string,
  headDim: number,
  factors: Float32Array | null,
) {
  const key = (name: string) => `${architecture}.rope.${name}`;
  const theta = shortestFloat(metadata.numberIf(key('freq_base')) ?? 10_000);
  const type = metadata.textIf(key('scaling.type')) ?? 'none';
  const factor = metadata.numberIf(key('scaling.factor')) ?? metadata.numberIf(key('scale_linear'));
  const scaling = (rope: Record<string, unknown> | null) => ({
    rope_scaling: rope,
    rope_theta: theta,
  });
  if (factors) {
    return scaling(llama3Scaling(factors, theta, headDim, metadata.file));
  }
  if (factor === null || factor === 1) return scaling(null);
  const named = { rope_type: type === 'none' ? 'linear' : type, factor: shortestFloat(factor) };
  if (named.rope_type === 'linear') return scaling(named);
  const known = ['type', 'factor', 'original_context_length', 'finetuned'].map((name) =>
    key(`scaling.${name}`),
  );
  const other = [...metadata.values.keys()].find(
    (name) => name.startsWith(key('scaling.')) && !known.includes(name),
  );
  if (named.rope_type !== 'yarn' || other !== undefined) {
    throw new SdaError(
      'unsupported',
      `${metadata.file} scales its rotary embeddings by ${other ?? type} where linear, yarn and Llama 3's factors are converted; import the published safetensors.`,
    );
  }
  const original = metadata.number(key('scaling.original_context_length'));
  return scaling({ ...named, original_max_position_embeddings: original });
}

function tokenIds(metadata: Metadata) {
  const id = (name: string) => metadata.numberIf(`tokenizer.ggml.${name}_token_id`);
  const [bos, eos, pad] = [id('bos'), id('eos'), id('padding')];
  return {
    ...(bos !== null && { bos_token_id: bos }),
    ...(eos !== null && { eos_token_id: eos }),
    ...(pad !== null && { pad_token_id: pad }),
  };
}

/** With the token that ends a turn, where it is another than the one that ends a text. */
function generationConfig(metadata: Metadata, ids: ReturnType<typeof tokenIds>) {
  const endOfTurn = metadata.numberIf('tokenizer.ggml.eot_token_id');
  const { eos_token_id: eos } = ids;
  if (endOfTurn === null || endOfTurn === eos) return ids;
  return { ...ids, eos_token_id: eos === undefined ? endOfTurn : [eos, endOfTurn] };
}

/** The shortest decimal that gives this float32: 1e-5, not 9.999999747378752e-6. */
export function shortestFloat(value: number): number {
  for (let digits = 1; digits < 9; digits++) {
    const shorter = Number(value.toPrecision(digits));
    if (Math.fround(shorter) === Math.fround(value)) return shorter;
  }
  return value;
}
