import { SdaError } from '../../errors.js';
import { FAMILIES } from '../../model/family.js';
import { architecture, architectureOf, type GgufArchitecture } from './architectures.js';
import { shortestFloat } from './decimals.js';
import type { Metadata } from './metadata.js';
import { type RopeFactors, ropeOf } from './rope.js';

/** What the tensors say that the metadata do not. */
export interface TensorFacts {
  /** Rows of the embedding */
  readonly vocabSize: number;
  readonly hasHead: boolean;
  readonly attentionBias: boolean;
  readonly mlpBias: boolean;
  readonly ropeFactors: RopeFactors;
}

/**
 * config.json and generation_config.json of a GGUF file.
 * @throws SdaError `unsupported` for what a decoder here does not do; `bad-config`.
 */
export function ggufConfigs(metadata: Metadata, facts: TensorFacts) {
  const type = architectureOf(metadata);
  const family = FAMILIES[type];
  const of = (key: string) => `${type}.${key}`;
  refuseOthers(metadata, type);
  const hidden = metadata.number(of('embedding_length'));
  const heads = metadata.number(of('attention.head_count'));
  const headDim = metadata.numberIf(of('attention.key_length')) ?? hidden / heads;
  const rotated = metadata.numberIf(of('rope.dimension_count')) ?? headDim;
  const values = metadata.numberIf(of('attention.value_length')) ?? headDim;
  if ((rotated !== headDim && !family.partialRotation) || values !== headDim) {
    throw new SdaError(
      'unsupported',
      `${metadata.file} has heads of ${headDim} for queries, ${values} for values and ${rotated} rotated where one size is supported.`,
    );
  }
  const ids = tokenIds(metadata);
  const config = {
    architectures: [architecture(type).className],
    model_type: type,
    ...(family.attentionBias === 'config' && { attention_bias: facts.attentionBias }),
    ...ids,
    head_dim: headDim,
    hidden_act: 'silu',
    hidden_size: hidden,
    intermediate_size: metadata.number(of('feed_forward_length')),
    max_position_embeddings: metadata.number(of('context_length')),
    ...(family.mlpBias === 'config' && { mlp_bias: facts.mlpBias }),
    num_attention_heads: heads,
    num_hidden_layers: metadata.number(of('block_count')),
    num_key_value_heads: metadata.numberIf(of('attention.head_count_kv')) ?? heads,
    rms_norm_eps: shortestFloat(metadata.number(of('attention.layer_norm_rms_epsilon'))),
    ...ropeOf(metadata, type, { headDim, rotated, factors: facts.ropeFactors }),
    ...ownFields(metadata, type),
    tie_word_embeddings: !facts.hasHead,
    vocab_size: facts.vocabSize,
  };
  return { config, generationConfig: generationConfig(metadata, ids) };
}

/** What only one family has in its config.json. */
function ownFields(metadata: Metadata, type: GgufArchitecture): Record<string, unknown> {
  switch (type) {
    case 'smollm3':
      return { no_rope_layer_interval: 4 }; // llama.cpp's constant; its converter takes no other from a config
    case 'granite': {
      const scales = Object.entries(GRANITE_SCALES).map(
        ([name, key]) => [name, shortestFloat(metadata.number(`${type}.${key}`))] as const,
      );
      return Object.fromEntries(scales);
    }
    case 'phi3':
      return { sliding_window: phi3Window(metadata) };
    default:
      return {};
  }
}

/** Keys of config.json, and where a file of GGUF has them after its architecture's name. */
const GRANITE_SCALES = {
  attention_multiplier: 'attention.scale',
  embedding_multiplier: 'embedding_scale',
  logits_scaling: 'logit_scale',
  residual_multiplier: 'residual_scale',
};

/** Of all layers; files say 0 for none, and old ones nothing where there is one. */
function phi3Window(metadata: Metadata): number | null {
  const window = metadata.number('phi3.attention.sliding_window');
  return window === 0 ? null : window;
}

/** Keys that change the numbers in a way that is not done, after the architecture's name. */
const OTHER_KEYS = [
  'attention.clamp_kqv',
  'attention.temperature_scale',
  'attn_logit_softcapping',
  'final_logit_softcapping',
];

/** What would change the numbers and is not done. */
function refuseOthers(metadata: Metadata, type: GgufArchitecture): void {
  const experts = metadata.numberIf(`${type}.expert_count`) ?? 0;
  if (experts > 0) {
    throw new SdaError(
      'unsupported',
      `${metadata.file} is a mixture of ${experts} experts where one MLP a layer is supported.`,
    );
  }
  const others = [...OTHER_KEYS, ...(type === 'granite' ? [] : Object.values(GRANITE_SCALES))];
  const other = others.find((key) => (metadata.numberIf(`${type}.${key}`) ?? 0) !== 0);
  if (other !== undefined) {
    throw new SdaError(
      'unsupported',
      `${metadata.file} has ${type}.${other}, which is not done for this architecture; take another model.`,
    );
  }
  if (type === 'granite' && metadata.flagIf('granite.rope.scaling.finetuned') === false) {
    throw new SdaError(
      'unsupported',
      `${metadata.file} rotates no queries and keys (granite.rope.scaling.finetuned is false) where all layers do; take another model.`,
    );
  }
  const context = metadata.number(`${type}.context_length`);
  const window = metadata.numberIf(`${type}.attention.sliding_window`) ?? 0;
  if (type !== 'phi3' && window > 0 && window < context) {
    throw new SdaError(
      'unsupported',
      `${metadata.file} sees only the last ${window} of its ${context} positions in some layers, which is not converted; import the published safetensors.`,
    );
  }
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
