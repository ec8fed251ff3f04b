import { z } from 'zod';
import { describeIssues } from '../checkpoint/json-file.js';
import { SdaError } from '../errors.js';
import type { Family } from './family.js';
import { rotaryDimOf } from './partial-rotation.js';

/** The rotary position embedding of a model: its base and how its frequencies are scaled. */
export type RopeConfig = { readonly theta: number } & (
  | { readonly type: 'default' }
  | { readonly type: 'linear'; readonly factor: number }
  | { readonly type: 'dynamic'; readonly factor: number; readonly originalMaxPosition: number }
  | {
      readonly type: 'llama3';
      readonly factor: number;
      readonly lowFreqFactor: number;
      readonly highFreqFactor: number;
      readonly originalMaxPosition: number;
    }
  | {
      readonly type: 'yarn';
      readonly factor: number;
      readonly betaFast: number;
      readonly betaSlow: number;
      /** null: derived from factor, mscale and mscaleAllDim. */
      readonly attentionFactor: number | null;
      readonly mscale: number | null;
      readonly mscaleAllDim: number | null;
      readonly originalMaxPosition: number;
      /** Whether the ramp's bounds are rounded outwards to whole dimensions. */
      readonly truncate: boolean;
    }
  | {
      readonly type: 'longrope';
      readonly factor: number;
      /** Divisors of the frequencies up to the trained length, and beyond it: [rotaryDim / 2] */
      readonly shortFactors: readonly number[];
      readonly longFactors: readonly number[];
      /** null: derived from factor. */
      readonly attentionFactor: number | null;
      readonly originalMaxPosition: number;
    }
);

/** The names of the supported kinds of scaling. */
export const ROPE_TYPES = ['default', 'linear', 'dynamic', 'llama3', 'yarn', 'longrope'] as const;

// Far beyond any published model, and near enough that no frequency leaves the range of a float.
const theta = z.number().gt(1).max(1e20);
const factor = z.number().min(1).max(1e6);
const positive = z.number().min(1e-6).max(1e6);
const notNegative = z.union([z.literal(0), positive]);
/** Positions are counted in int32. */
const MAX_POSITIONS = 2 ** 31 - 1;
const positiveInteger = z.number().int().positive().max(MAX_POSITIONS);
const parametersSchema = z.object({
  rope_type: z.string().nullish(),
  type: z.string().nullish(),
  rope_theta: theta.nullish(),
  partial_rotary_factor: positive.nullish(),
  factor: factor.nullish(),
  original_max_position_embeddings: positiveInteger.nullish(),
  low_freq_factor: positive.nullish(),
  high_freq_factor: positive.nullish(),
  beta_fast: notNegative.nullish(),
  beta_slow: notNegative.nullish(),
  attention_factor: positive.nullish(),
  mscale: notNegative.nullish(),
  mscale_all_dim: notNegative.nullish(),
  truncate: z.boolean().nullish(),
  short_factor: z.array(positive).nullish(),
  long_factor: z.array(positive).nullish(),
});
type Parameters = z.infer<typeof parametersSchema>;

/** The keys of config.json that say something about rotary embeddings. */
export const ropeFields = {
  rope_theta: theta.nullish(),
  rope_scaling: z.record(z.string(), z.unknown()).nullish(),
  rope_parameters: z.record(z.string(), z.unknown()).nullish(),
  partial_rotary_factor: positive.nullish(),
  original_max_position_embeddings: positiveInteger.nullish(),
};
type RopeFields = z.infer<z.ZodObject<typeof ropeFields>>;

/**
 * The rotary embedding from either form of config.json: `rope_theta` and `rope_scaling`
 * (transformers 4) or `rope_parameters` (transformers 5); and the dimensions of a head that it rotates.
 * @throws SdaError `bad-config` where the forms contradict each other or a value is missing or out of
 *   range; `unsupported` for other kinds of scaling, partial rotation, or one per layer type.
 */
export function parseRope(
  config: RopeFields,
  options: {
    readonly file: string;
    readonly family: Family;
    readonly maxPositionEmbeddings: number;
    /** undefined where it is not known: then the lengths of lists are not checked */
    readonly headDim: number | undefined;
  },
): { readonly rope: RopeConfig; readonly rotaryDim: number } {
  const { file, family, headDim } = options;
  const old = parseParameters(file, 'rope_scaling', config.rope_scaling);
  const current = parseParameters(file, 'rope_parameters', config.rope_parameters);
  const both: readonly Source[] = [
    old,
    current,
    {
      key: null,
      values: {
        rope_theta: config.rope_theta,
        partial_rotary_factor: config.partial_rotary_factor,
      },
    },
  ];
  const given = agree(file, 'partial_rotary_factor', both);
  const rotaryDim = rotaryDimOf(file, given ?? 1, headDim, family);
  const rope = scalingOf(config, both, { ...options, rotaryDim });
  return { rope, rotaryDim: rotaryDim ?? 0 };
}

function scalingOf(
  config: RopeFields,
  both: readonly Source[],
  options: {
    readonly file: string;
    readonly family: Family;
    readonly maxPositionEmbeddings: number;
    readonly rotaryDim: number | undefined;
  },
): RopeConfig {
  const { file, family, maxPositionEmbeddings, rotaryDim } = options;
  const value = <K extends keyof Parameters>(name: K) => agree(file, name, both);
  const theta = value('rope_theta') ?? family.defaultRopeTheta;
  const type = ropeType(file, both, family);
  const required = <K extends keyof Parameters>(name: K): NonNullable<Parameters[K]> => {
    const given = value(name);
    if (given != null) return given;
    throw new SdaError(
      'bad-config',
      `${file} has rotary embeddings of type "${type}" without "${name}", which they need; add it from the model's card.`,
    );
  };
  const originalMaxPosition =
    config.original_max_position_embeddings ??
    value('original_max_position_embeddings') ??
    family.defaultOriginalMaxPosition ??
    maxPositionEmbeddings;

  switch (type) {
    case 'default':
      return { type, theta };
    case 'linear':
      return { type, theta, factor: required('factor') };
    case 'dynamic':
      // Scaling starts at max_position_embeddings; transformers ignores the original length here.
      return {
        type,
        theta,
        factor: required('factor'),
        originalMaxPosition: maxPositionEmbeddings,
      };
    case 'llama3': {
      const lowFreqFactor = required('low_freq_factor');
      const highFreqFactor = required('high_freq_factor');
      if (highFreqFactor <= lowFreqFactor) {
        throw new SdaError(
          'bad-config',
          `${file} has high_freq_factor ${highFreqFactor} where more than low_freq_factor ${lowFreqFactor} is needed; correct one of them.`,
        );
      }
      return {
        type,
        theta,
        factor: required('factor'),
        lowFreqFactor,
        highFreqFactor,
        originalMaxPosition,
      };
    }
    case 'yarn':
      return {
        type,
        theta,
        factor: value('factor') ?? maxPositionEmbeddings / originalMaxPosition,
        betaFast: value('beta_fast') || 32,
        betaSlow: value('beta_slow') || 1,
        attentionFactor: value('attention_factor') ?? null,
        mscale: value('mscale') || null,
        mscaleAllDim: value('mscale_all_dim') || null,
        originalMaxPosition,
        truncate: value('truncate') ?? true,
      };
    case 'longrope': {
      if (originalMaxPosition < 2) {
        throw new SdaError(
          'bad-config',
          `${file} has original_max_position_embeddings ${originalMaxPosition} where "longrope" needs at least 2; correct it.`,
        );
      }
      const factors = (name: 'short_factor' | 'long_factor') =>
        checkFactors(file, name, required(name), rotaryDim);
      return {
        type,
        theta,
        factor: value('factor') ?? Math.max(1, maxPositionEmbeddings / originalMaxPosition),
        shortFactors: factors('short_factor'),
        longFactors: factors('long_factor'),
        attentionFactor: value('attention_factor') ?? null,
        originalMaxPosition,
      };
    }
  }
}

/**
 * Positions that a model was made for: `max_position_embeddings`, or what the scaling of its rotary embeddings makes of
 * the trained length. Llama 3's and LongRoPE's configs give the scaled length, where they do not give the trained one.
 */
export function contextLength(rope: RopeConfig, maxPositionEmbeddings: number): number {
  const scaled = (trained: number, factor: number) =>
    Math.max(maxPositionEmbeddings, Math.min(Math.floor(trained * factor), MAX_POSITIONS));
  switch (rope.type) {
    case 'default':
      return maxPositionEmbeddings;
    case 'linear':
    case 'dynamic':
      return scaled(maxPositionEmbeddings, rope.factor);
    case 'yarn':
      return scaled(rope.originalMaxPosition, rope.factor);
    case 'llama3':
    case 'longrope':
      return maxPositionEmbeddings > rope.originalMaxPosition
        ? maxPositionEmbeddings
        : scaled(rope.originalMaxPosition, rope.factor);
  }
}

function checkFactors(
  file: string,
  name: string,
  factors: readonly number[],
  rotaryDim: number | undefined,
): readonly number[] {
  if (rotaryDim === undefined || factors.length === rotaryDim / 2) return factors;
  throw new SdaError(
    'bad-config',
    `${file} has ${factors.length} numbers in "${name}" where half the rotated dimensions of a head, ${rotaryDim / 2}, is needed; correct it.`,
  );
}

interface Source {
  /** The object of config.json that the values stand in, or null for its top level. */
  readonly key: string | null;
  readonly values: Partial<Parameters>;
}

function parseParameters(
  file: string,
  key: string,
  raw: Readonly<Record<string, unknown>> | null | undefined,
): Source {
  if (raw == null) return { key, values: {} };
  const flat = withoutLayerTypes(file, key, raw);
  const parsed = parametersSchema.safeParse(flat);
  if (!parsed.success) {
    throw new SdaError(
      'bad-config',
      `${file} has a wrong "${key}" (${describeIssues(parsed.error)}); correct it.`,
    );
  }
  return { key, values: parsed.data };
}

/** transformers 5 can nest the parameters by layer type; that is supported where all are equal. */
function withoutLayerTypes(
  file: string,
  key: string,
  raw: Readonly<Record<string, unknown>>,
): unknown {
  const nested = Object.entries(raw).filter(([name]) => name.endsWith('_attention'));
  const [first] = nested;
  if (!first) return raw;
  if (nested.some(([, value]) => JSON.stringify(value) !== JSON.stringify(first[1]))) {
    throw new SdaError(
      'unsupported',
      `${file} has different "${key}" for ${nested.map(([name]) => name).join(' and ')} where one for all layers is supported.`,
    );
  }
  return first[1];
}

/** The value of a key from all places that give it. */
function agree<K extends keyof Parameters>(
  file: string,
  name: K,
  sources: readonly Source[],
): Parameters[K] {
  let found: { place: string; value: Parameters[K] } | undefined;
  for (const { key, values } of sources) {
    const value = values[name];
    if (value == null) continue;
    const place = key === null ? name : `${key}.${name}`;
    if (found && JSON.stringify(found.value) !== JSON.stringify(value)) {
      throw new SdaError(
        'bad-config',
        `${file} contradicts itself: ${found.place} is ${found.value} but ${place} is ${value}; remove the wrong one.`,
      );
    }
    found ??= { place, value };
  }
  return found?.value;
}

function ropeType(file: string, sources: readonly Source[], family: Family): RopeConfig['type'] {
  const known = (given: string | null | undefined) =>
    given != null && family.longRopeNames.includes(given) ? 'longrope' : given;
  const name = known(agree(file, 'rope_type', sources));
  const legacy = known(agree(file, 'type', sources));
  if (name != null && legacy != null && name !== legacy) {
    throw new SdaError(
      'bad-config',
      `${file} contradicts itself: the rotary embeddings have rope_type "${name}" but type "${legacy}"; remove the wrong one.`,
    );
  }
  const type = name ?? legacy ?? 'default';
  const supported = ROPE_TYPES.find((candidate) => candidate === type);
  if (supported) return supported;
  throw new SdaError(
    'unsupported',
    `${file} has rotary embeddings of type "${type}" where ${ROPE_TYPES.join(', ')} are supported.`,
  );
}
