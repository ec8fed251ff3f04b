import { z } from 'zod';
import { SdaError } from '../errors.js';
import { MODEL_TYPES, type ModelType } from './family.js';
import { missingFor } from './other-families.js';
import type { Problems } from './problems.js';

/** Each key by itself: what decides whether a model is supported is read also where other keys are wrong. */
const kindSchema = z.object({
  architectures: z.array(z.string()).nullish().catch(null),
  hidden_act: z.string().nullish().catch(null),
});
type Kind = z.infer<typeof kindSchema>;

/** The supported values of `hidden_act`, both of which mean x * sigmoid(x). */
const ACTIVATIONS = ['silu', 'swish'];

/**
 * Holds what kind of model a config.json describes against what is supported; what is not goes to `problems`.
 *
 * @returns its family, undefined where that is a problem
 */
export function checkKind(json: unknown, file: string, problems: Problems): ModelType | undefined {
  const modelType = problems.attempt(() => parseModelType(json, file));
  const kind = kindSchema.safeParse(json);
  if (kind.success) {
    for (const check of [refuseActivation, refuseArchitecture]) {
      problems.attempt(() => check(kind.data, file));
    }
  }
  return modelType;
}

function parseModelType(json: unknown, file: string): ModelType {
  const name = z.object({ model_type: z.string() }).safeParse(json);
  if (!name.success) {
    throw new SdaError(
      'bad-config',
      `${file} has no text "model_type"; give the config.json of a Hugging Face checkpoint.`,
    );
  }
  const modelType = MODEL_TYPES.find((type) => type === name.data.model_type);
  if (modelType) return modelType;
  const missing = missingFor(name.data.model_type);
  throw new SdaError(
    'unsupported',
    `${file} has model_type "${name.data.model_type}"${missing === null ? '' : ` (which needs ${missing})`} where ${MODEL_TYPES.join(', ')} are supported.`,
  );
}

function refuseActivation({ hidden_act: activation }: Kind, file: string): void {
  if (ACTIVATIONS.includes(activation ?? 'silu')) return;
  throw new SdaError(
    'unsupported',
    `${file} has hidden_act "${activation}" where ${ACTIVATIONS.join(', ')} are supported.`,
  );
}

function refuseArchitecture({ architectures }: Kind, file: string): void {
  if (!architectures?.length || architectures.some((name) => name.endsWith('ForCausalLM'))) return;
  throw new SdaError(
    'unsupported',
    `${file} has the architecture ${architectures.join(', ')} where a causal language model (...ForCausalLM) is needed.`,
  );
}
