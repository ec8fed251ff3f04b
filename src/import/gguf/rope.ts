import { SdaError } from '../../errors.js';
import { shortestFloat } from './decimals.js';
import type { Metadata } from './metadata.js';
import { llama3Scaling } from './rope-factors.js';

/** What frequencies are divided by, where a file holds it as tensors: [rotated / 2] each. */
export interface RopeFactors {
  /** `rope_freqs.weight`: Llama 3's */
  readonly llama3: Float32Array | null;
  /** `rope_factors_short.weight` and `rope_factors_long.weight`: LongRoPE's */
  readonly short: Float32Array | null;
  readonly long: Float32Array | null;
}

/** Sizes that the rotation depends on. */
interface RopeSizes {
  readonly headDim: number;
  /** Dimensions of a head that are rotated */
  readonly rotated: number;
  readonly factors: RopeFactors;
}

/**
 * The rotary embeddings' part of config.json.
 * @param architecture as the metadata name it
 * @throws SdaError `unsupported` for a scaling that is not converted
 */
export function ropeOf(metadata: Metadata, architecture: string, sizes: RopeSizes) {
  const { headDim, rotated, factors } = sizes;
  const theta = shortestFloat(metadata.numberIf(`${architecture}.rope.freq_base`) ?? 10_000);
  const original = metadata.numberIf(`${architecture}.rope.scaling.original_context_length`);
  return {
    ...(rotated !== headDim && { partial_rotary_factor: rotated / headDim }),
    ...(architecture === 'phi3' &&
      original !== null && { original_max_position_embeddings: original }),
    rope_scaling: factors.llama3
      ? llama3Scaling(factors.llama3, theta, headDim, metadata.file)
      : factors.short || factors.long
        ? longRope(metadata, architecture, factors)
        : scalingOf(metadata, architecture),
    rope_theta: theta,
  };
}

function longRope(metadata: Metadata, architecture: string, { short, long }: RopeFactors) {
  if (!short || !long) {
    throw new SdaError(
      'bad-file',
      `${metadata.file} has one of rope_factors_short.weight and rope_factors_long.weight where both are needed; download it again.`,
    );
  }
  const original = metadata.number(`${architecture}.rope.scaling.original_context_length`);
  const scale = metadata.number(`${architecture}.context_length`) / original;
  const attention = metadata.numberIf(`${architecture}.rope.scaling.attn_factor`);
  // which transformers derives in the same way where config.json does not say
  const derived = scale > 1 ? Math.sqrt(1 + Math.log(scale) / Math.log(original)) : 1;
  const other = attention !== null && attention !== Math.fround(derived);
  return {
    rope_type: 'longrope',
    short_factor: Array.from(short, shortestFloat),
    long_factor: Array.from(long, shortestFloat),
    original_max_position_embeddings: original,
    ...(other && { attention_factor: shortestFloat(attention) }),
  };
}

function scalingOf(metadata: Metadata, architecture: string): Record<string, unknown> | null {
  const key = (name: string) => `${architecture}.rope.${name}`;
  const type = metadata.textIf(key('scaling.type')) ?? 'none';
  const factor = metadata.numberIf(key('scaling.factor')) ?? metadata.numberIf(key('scale_linear'));
  if (factor === null || factor === 1) return null;
  const named = { rope_type: type === 'none' ? 'linear' : type, factor: shortestFloat(factor) };
  if (named.rope_type === 'linear') return named;
  const known = ['type', 'factor', 'original_context_length', 'finetuned'].map((name) =>
    key(`scaling.${name}`),
  );
  const other = [...metadata.values.keys()].find(
    (name) => name.startsWith(key('scaling.')) && !known.includes(name),
  );
  if (named.rope_type !== 'yarn' || other !== undefined) {
    throw new SdaError(
      'unsupported',
      `${metadata.file} scales its rotary embeddings by ${other ?? type} where linear, yarn, LongRoPE's and Llama 3's factors are converted; import the published safetensors.`,
    );
  }
  const original = metadata.number(key('scaling.original_context_length'));
  return { ...named, original_max_position_embeddings: original };
}
