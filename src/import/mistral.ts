import { join } from 'node:path';
import { z } from 'zod';
import { type Checkpoint, openSafetensors, type TensorInfo } from '../checkpoint/checkpoint.js';
import { derivedCheckpoint, placed } from '../checkpoint/derived.js';
import { describeIssues, listSome, parseJson, readTextFile } from '../checkpoint/json-file.js';
import { SdaError } from '../errors.js';
import { type ModuleNames, transformersModule } from './module-names.js';
import { halvesFromPairs } from './rotation-order.js';

export const CONSOLIDATED_FILE = 'consolidated.safetensors';
export const PARAMS_FILE = 'params.json';

const size = z.int().positive();
const paramsSchema = z.looseObject({
  dim: size,
  n_layers: size,
  head_dim: size.nullish(),
  hidden_dim: size,
  n_heads: size,
  n_kv_heads: size.nullish(),
  norm_eps: z.number().positive(),
  vocab_size: size,
  rope_theta: z.number().positive().nullish(),
  sliding_window: size.nullish(),
  max_seq_len: size.nullish(),
  max_position_embeddings: size.nullish(),
  tied_embeddings: z.boolean().nullish(),
});

/** Settings that change the numbers and are not done. */
const OTHER = ['moe', 'quantization', 'lora', 'vision_encoder', 'yarn', 'q_lora_rank'];

/** What Mistral's models have where params.json says nothing; 7B v0.2 and later have it. */
const DEFAULT_POSITIONS = 32_768;

/**
 * config.json from the params.json of a folder in Mistral's own format.
 * @throws SdaError `file-missing`, `bad-config`, `unsupported`
 */
export async function mistralConfig(dir: string): Promise<Record<string, unknown>> {
  const file = join(dir, PARAMS_FILE);
  const parsed = paramsSchema.safeParse(
    parseJson(await readTextFile(file, 'bad-config'), file, 'bad-config'),
  );
  if (!parsed.success) {
    throw new SdaError(
      'bad-config',
      `${file} is no params.json of a Mistral model (${describeIssues(parsed.error)}); download it again.`,
    );
  }
  const params = parsed.data;
  const other = OTHER.find((key) => params[key] != null);
  if (other !== undefined) {
    throw new SdaError(
      'unsupported',
      `${file} has ${JSON.stringify(other)} where a plain decoder is supported; take another model.`,
    );
  }
  return {
    architectures: ['MistralForCausalLM'],
    model_type: 'mistral',
    bos_token_id: 1,
    eos_token_id: 2,
    head_dim: params.head_dim ?? params.dim / params.n_heads,
    hidden_act: 'silu',
    hidden_size: params.dim,
    intermediate_size: params.hidden_dim,
    max_position_embeddings:
      params.max_position_embeddings ?? params.max_seq_len ?? DEFAULT_POSITIONS,
    num_attention_heads: params.n_heads,
    num_hidden_layers: params.n_layers,
    num_key_value_heads: params.n_kv_heads ?? params.n_heads,
    rms_norm_eps: params.norm_eps,
    rope_theta: params.rope_theta ?? 10_000,
    sliding_window: params.sliding_window ?? null,
    tie_word_embeddings: params.tied_embeddings ?? false,
    vocab_size: params.vocab_size,
  };
}

const MODULES: ModuleNames = {
  whole: {
    tok_embeddings: 'model.embed_tokens',
    norm: 'model.norm',
    output: 'lm_head',
  },
  inLayer: {
    'attention.wq': 'self_attn.q_proj',
    'attention.wk': 'self_attn.k_proj',
    'attention.wv': 'self_attn.v_proj',
    'attention.wo': 'self_attn.o_proj',
    attention_norm: 'input_layernorm',
    ffn_norm: 'post_attention_layernorm',
    'feed_forward.w1': 'mlp.gate_proj',
    'feed_forward.w2': 'mlp.down_proj',
    'feed_forward.w3': 'mlp.up_proj',
  },
};

/** The heads whose rows lie in pairs. */
export interface Heads {
  readonly queries: number;
  readonly keys: number;
}

/**
 * The tensors of a consolidated.safetensors by transformers' names, the rows of q and k in transformers' order.
 * @throws SdaError `file-missing`, `bad-file`, `unsupported` for tensors that have no place in a decoder
 */
export async function openConsolidated(dir: string, heads: Heads): Promise<Checkpoint> {
  const base = await openSafetensors(join(dir, CONSOLIDATED_FILE));
  const names = new Map<string, string>();
  const tensors = new Map<string, TensorInfo>();
  const other: string[] = [];
  for (const [own, info] of base.tensors) {
    const name = transformersName(own);
    if (name === null) other.push(own);
    else {
      names.set(name, own);
      tensors.set(name, info);
    }
  }
  if (other.length > 0) {
    throw new SdaError(
      'unsupported',
      `${join(dir, CONSOLIDATED_FILE)} holds ${other.length} tensors that have no place in a decoder here: ${listSome(other)}; take another model.`,
    );
  }
  return derivedCheckpoint(base, {
    tensors,
    read: async (name, into) => {
      const own = names.get(name)!;
      const paired = /\.(q|k)_proj\.weight$/.exec(name)?.[1];
      if (paired === undefined) return base.read(own, into);
      const count = paired === 'q' ? heads.queries : heads.keys;
      const rows = tensors.get(name)!.shape[0]!;
      return placed(halvesFromPairs(await base.read(own), rows, count), into);
    },
  });
}

function transformersName(name: string): string | null {
  const [, layer, module] = /^(?:layers\.(\d+)\.)?(.+)\.weight$/.exec(name) ?? [];
  const known = module === undefined ? null : transformersModule(MODULES, layer, module);
  return known && `${known}.weight`;
}
