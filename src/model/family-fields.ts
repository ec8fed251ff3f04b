import { z } from 'zod';
import { describeIssues } from '../checkpoint/json-file.js';
import { SdaError } from '../errors.js';
import type { Family } from './family.js';

// Keys of config.json that only some families read: elsewhere they mean nothing, whatever they hold.

/** What a model multiplies its values by. */
export interface Scales {
  /** Of embeddings, as they begin the residual stream. */
  readonly embeddingScale: number;
  /** Of the products of queries and keys; null: 1 / sqrt(headDim). */
  readonly attentionScale: number | null;
  /** Of logits. */
  readonly logitsScale: number;
}

/** Far wider than any published value, and such that an epsilon stays a float32. */
const multiplier = z.number().min(1e-3).max(1e3).nullish();
const multiplierSchema = z.object({
  embedding_multiplier: multiplier,
  attention_multiplier: multiplier,
  residual_multiplier: multiplier,
  logits_scaling: multiplier,
});

/**
 * Granite's multipliers. Its layers add r f(norm(x)) to x, for a residual multiplier r; the stream is kept as x / r here,
 * to which f is added as it is. A norm of it is the same with epsilon / r^2.
 *
 * @param rmsNormEps of the norms of x
 * @returns the scales, and the epsilon of the norms of the stream as it is kept
 * @throws SdaError `bad-config` for one that is no number, or out of range
 */
export function parseScales(
  json: unknown,
  rmsNormEps: number,
  family: Family,
  file: string,
): Scales & { readonly rmsNormEps: number } {
  if (!family.multipliers) {
    return { embeddingScale: 1, attentionScale: null, logitsScale: 1, rmsNormEps };
  }
  const given = parseFields(multiplierSchema, json, file);
  const residual = given.residual_multiplier ?? 1;
  return {
    embeddingScale: (given.embedding_multiplier ?? 1) / residual,
    attentionScale: given.attention_multiplier ?? 1,
    logitsScale: 1 / (given.logits_scaling ?? 1),
    rmsNormEps: rmsNormEps / residual ** 2,
  };
}

/** Every so many layers one is not rotated, where the config does not say. */
const DEFAULT_INTERVAL = 4;
const rotatedSchema = z.object({
  no_rope_layers: z.array(z.union([z.literal(0), z.literal(1)])).nullish(),
  no_rope_layer_interval: z.number().int().positive().nullish(),
});

/**
 * Which layers rotate queries and keys: SmolLM3's `no_rope_layers` has a 1 for each that does.
 *
 * @returns [numLayers]
 * @throws SdaError `bad-config`, also for a list that is too short
 */
export function parseRotatedLayers(
  json: unknown,
  numLayers: number,
  family: Family,
  file: string,
): readonly boolean[] {
  const layers = Array.from({ length: numLayers }, (_, layer) => layer);
  if (family.rotatedLayers === 'all') return layers.map(() => true);
  const { no_rope_layers: list, no_rope_layer_interval } = parseFields(rotatedSchema, json, file);
  const interval = no_rope_layer_interval ?? DEFAULT_INTERVAL;
  if (!list) return layers.map((layer) => (layer + 1) % interval !== 0);
  if (list.length >= numLayers) return layers.map((layer) => list[layer] === 1);
  throw new SdaError(
    'bad-config',
    `${file} has ${list.length} numbers in no_rope_layers where num_hidden_layers is ${numLayers}; correct one of them.`,
  );
}

/**
 * What a schema makes of config.json.
 *
 * @throws SdaError `bad-config` naming the fields that do not fit
 */
export function parseFields<T>(schema: z.ZodType<T>, json: unknown, file: string): T {
  const result = schema.safeParse(json);
  if (result.success) return result.data;
  throw new SdaError(
    'bad-config',
    `${file} is not a valid configuration (${describeIssues(result.error)}); correct it or download it again.`,
  );
}
