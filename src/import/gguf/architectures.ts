import { SdaError } from '../../errors.js';
import type { ModelType } from '../../model/family.js';
import type { ModuleNames } from '../module-names.js';
import type { Metadata } from './metadata.js';

/** What of a GGUF architecture its metadata do not say. */
export interface Architecture {
  /** transformers' class */
  readonly className: string;
  /** Whether the two rows of q and k that RoPE rotates together are neighbours */
  readonly pairedRows: boolean;
  readonly modules: ModuleNames;
}

const WHOLE = {
  token_embd: 'model.embed_tokens',
  output_norm: 'model.norm',
  output: 'lm_head',
} as const;

const LLAMA_LAYER = {
  attn_norm: 'input_layernorm',
  attn_q: 'self_attn.q_proj',
  attn_k: 'self_attn.k_proj',
  attn_v: 'self_attn.v_proj',
  attn_output: 'self_attn.o_proj',
  ffn_norm: 'post_attention_layernorm',
  ffn_gate: 'mlp.gate_proj',
  ffn_up: 'mlp.up_proj',
  ffn_down: 'mlp.down_proj',
} as const;
const QK_NORMS = { attn_q_norm: 'self_attn.q_norm', attn_k_norm: 'self_attn.k_norm' } as const;

const { attn_norm, ffn_norm, ...WITHOUT_NORMS } = LLAMA_LAYER;
const LLAMA = { whole: WHOLE, inLayer: LLAMA_LAYER };

/**
 * The architectures that are decoders of a family here, by their names in GGUF, which are those of transformers.
 * Source: llama.cpp's converters, and gguf-py's constants for the names of tensors.
 */
const ARCHITECTURES = {
  llama: { className: 'LlamaForCausalLM', pairedRows: true, modules: LLAMA },
  qwen2: { className: 'Qwen2ForCausalLM', pairedRows: false, modules: LLAMA },
  qwen3: {
    className: 'Qwen3ForCausalLM',
    pairedRows: false,
    modules: { whole: WHOLE, inLayer: { ...LLAMA_LAYER, ...QK_NORMS } },
  },
  phi3: {
    className: 'Phi3ForCausalLM',
    pairedRows: false,
    modules: {
      whole: WHOLE,
      inLayer: {
        attn_norm,
        attn_qkv: 'self_attn.qkv_proj',
        attn_output: 'self_attn.o_proj',
        ffn_norm,
        ffn_up: 'mlp.gate_up_proj',
        ffn_down: 'mlp.down_proj',
      },
    },
  },
  smollm3: { className: 'SmolLM3ForCausalLM', pairedRows: true, modules: LLAMA },
  granite: { className: 'GraniteForCausalLM', pairedRows: true, modules: LLAMA },
  olmo2: {
    className: 'Olmo2ForCausalLM',
    pairedRows: false,
    modules: {
      whole: WHOLE,
      inLayer: {
        ...WITHOUT_NORMS,
        ...QK_NORMS,
        post_attention_norm: 'post_attention_layernorm',
        post_ffw_norm: 'post_feedforward_layernorm',
      },
    },
  },
} as const satisfies Partial<Record<ModelType, Architecture>>;

/** The name of a supported architecture, in GGUF and as config.json's `model_type`. */
export type GgufArchitecture = keyof typeof ARCHITECTURES;

/** What a supported architecture is. */
export function architecture(name: GgufArchitecture): Architecture {
  return ARCHITECTURES[name];
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
