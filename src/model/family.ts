/** Which values of q and k an RMSNorm takes together. */
export type QkNorm = 'none' | 'each-head' | 'all-heads';

/** What sets one family of decoders apart from the others; the rest is the same transformer. */
export interface Family {
  /** Whether q, k and v have a bias: a fact, or the config's `attention_bias` (default false). */
  readonly attentionBias: 'always' | 'never' | 'config';
  /** Whether o has a bias. */
  readonly attentionOutputBias: 'never' | 'config';
  /** Whether the MLP has biases: never, or the config's `mlp_bias` (default false). */
  readonly mlpBias: 'never' | 'config';
  /** Whether q and k are RMS-normalised before the rotation: each head, or all heads together. */
  readonly qkNorm: QkNorm;
  /** Whether attention and the MLP normalise what they add to their input, and not the input. */
  readonly normsAfter: boolean;
  /** Whether the checkpoint has q, k and v as one matrix, and gate and up as another. */
  readonly fusedProjections: boolean;
  /**
   * Which layers see only a window of the past: none; all, where `sliding_window` is a number; or,
   * where `use_sliding_window` is set, those of `layer_types`, else the ones from `max_window_layers` on or
   * the ones without rotation.
   */
  readonly slidingWindow: 'none' | 'all' | 'upper-layers' | 'layers-without-rotation';
  /** Which layers rotate queries and keys: all, or those of `no_rope_layers` or `no_rope_layer_interval`. */
  readonly rotatedLayers: 'all' | 'config';
  /** Whether `partial_rotary_factor` may leave the end of each head as it is. */
  readonly partialRotation: boolean;
  /** Other names that `rope_type` has for "longrope". */
  readonly longRopeNames: readonly string[];
  /** Whether the config multiplies embeddings, scores and residuals, and divides logits. */
  readonly multipliers: boolean;
  /** The window where config.json has no key `sliding_window`. */
  readonly defaultSlidingWindow: number | null;
  /** Key-value heads where config.json has no key `num_key_value_heads`; null: as many as heads. */
  readonly defaultKeyValueHeads: number | null;
  /** Size of a head where config.json gives none; null: hidden size / heads. */
  readonly defaultHeadDim: number | null;
  readonly defaultMaxPositionEmbeddings: number;
  /** The trained length where config.json gives none; null: `max_position_embeddings`. */
  readonly defaultOriginalMaxPosition: number | null;
  readonly defaultRmsNormEps: number;
  readonly defaultRopeTheta: number;
  readonly defaultTieWordEmbeddings: boolean;
}

const LLAMA = {
  attentionBias: 'config',
  attentionOutputBias: 'config',
  mlpBias: 'config',
  qkNorm: 'none',
  normsAfter: false,
  fusedProjections: false,
  slidingWindow: 'none',
  rotatedLayers: 'all',
  partialRotation: false,
  longRopeNames: [],
  multipliers: false,
  defaultSlidingWindow: null,
  defaultKeyValueHeads: null,
  defaultHeadDim: null,
  defaultMaxPositionEmbeddings: 2048,
  defaultOriginalMaxPosition: null,
  defaultRmsNormEps: 1e-6,
  defaultRopeTheta: 10_000,
  defaultTieWordEmbeddings: false,
} as const satisfies Family;

/**
 * The supported families by config.json's `model_type`, each as Llama but for what it names.
 * Source: transformers 5.24, `models/<name>`.
 */
export const FAMILIES = {
  llama: LLAMA,
  mistral: {
    ...LLAMA,
    attentionBias: 'never',
    attentionOutputBias: 'never',
    mlpBias: 'never',
    slidingWindow: 'all',
    defaultSlidingWindow: 4096,
    defaultKeyValueHeads: 8,
    defaultMaxPositionEmbeddings: 131_072,
  },
  qwen2: {
    ...LLAMA,
    attentionBias: 'always',
    attentionOutputBias: 'never',
    mlpBias: 'never',
    slidingWindow: 'upper-layers',
    defaultSlidingWindow: 4096,
    defaultKeyValueHeads: 32,
    defaultMaxPositionEmbeddings: 32_768,
  },
  qwen3: {
    ...LLAMA,
    mlpBias: 'never',
    qkNorm: 'each-head',
    slidingWindow: 'upper-layers',
    defaultSlidingWindow: 4096,
    defaultKeyValueHeads: 32,
    defaultHeadDim: 128,
    defaultMaxPositionEmbeddings: 32_768,
  },
  phi3: {
    ...LLAMA,
    attentionBias: 'never',
    attentionOutputBias: 'never',
    mlpBias: 'never',
    fusedProjections: true,
    slidingWindow: 'all',
    partialRotation: true,
    longRopeNames: ['su', 'yarn'],
    defaultMaxPositionEmbeddings: 4096,
    defaultOriginalMaxPosition: 4096,
    defaultRmsNormEps: 1e-5,
  },
  smollm3: {
    ...LLAMA,
    slidingWindow: 'layers-without-rotation',
    rotatedLayers: 'config',
    defaultKeyValueHeads: 4,
    defaultMaxPositionEmbeddings: 32_768,
    defaultRopeTheta: 2_000_000,
    defaultTieWordEmbeddings: true,
  },
  granite: { ...LLAMA, multipliers: true },
  olmo2: {
    ...LLAMA,
    mlpBias: 'never',
    qkNorm: 'all-heads',
    normsAfter: true,
    defaultRmsNormEps: 1e-5,
  },
} as const satisfies Record<string, Family>;

/** A supported `model_type`. */
export type ModelType = keyof typeof FAMILIES;

/** The supported values of `model_type`. */
export const MODEL_TYPES = Object.keys(FAMILIES) as readonly ModelType[];
