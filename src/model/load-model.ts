import { type AdapterSource, withAdapters } from '../checkpoint/adapter/merge.js';
import { matrixProduct } from '../runtime/matrix-product.js';
import { hostMemory, modelMemory } from '../runtime/memory.js';
import { gpuFallback, startTensorFlow } from '../runtime/tensorflow.js';
import type { ModelConfig } from './config.js';
import type { DecoderModel } from './decoder.js';
import { openFolder } from './folder.js';
import { type LoadProgress, loadWeights, type WeightDtype } from './load.js';
import { checkMemory, type MemoryPlan, planMemory, plannedWeights } from './memory-plan.js';

export interface LoadDecoderOptions {
  /** Type of the matrices on the device; default `auto`: as the checkpoint stores them. */
  readonly dtype?: WeightDtype;
  /** Positions a stream may hold, prompt and answer together; default and maximum: the model's own. */
  readonly maxContext?: number | undefined;
  /** Use the embedding as head where config.json says untied and `lm_head.weight` is missing; default false. */
  readonly tieMissingHead?: boolean | undefined;
  /** LoRA adapters of PEFT, merged into the weights as they are read; default: none. */
  readonly adapters?: readonly AdapterSource[] | undefined;
  /** Refuse a model that does not fit into memory before anything is read; default true. */
  readonly memoryCheck?: boolean | undefined;
  /** Told what the model will take, before anything is read. */
  readonly onPlan?: ((plan: MemoryPlan) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: LoadProgress) => void) | undefined;
}

/** A decoder on the device, with what was noticed while loading it. */
export interface LoadedDecoder extends DecoderModel {
  readonly config: ModelConfig;
  readonly warnings: readonly string[];
  readonly loadMs: number;
  dispose(): void;
}

/**
 * Loads the transformer of a Hugging Face folder (config.json and safetensors). Everything is checked before
 * a weight is read.
 *
 * @throws SdaError naming the file, the tensor or field, what was expected and found, all of them together; see
 *   `loadConfig`, `openCheckpoint`, `checkTensors` and `loadWeights`.
 */
export async function loadDecoder(
  dir: string,
  options: LoadDecoderOptions = {},
): Promise<LoadedDecoder> {
  const start = performance.now();
  const { config, checked, ...folder } = await openFolder(dir, options);
  let { checkpoint } = folder;
  try {
    checkpoint = await withAdapters(checkpoint, options.adapters ?? [], { product: matrixProduct });
    let memory = await modelMemory();
    if (memory.place === 'device' && (await startTensorFlow()).device === 'cpu') {
      memory = hostMemory();
    }
    const needs = {
      weights: plannedWeights(checked, checkpoint.tensors, options.dtype ?? 'auto'),
      available: memory.available,
      device: memory.device,
      ...(options.maxContext !== undefined && { context: options.maxContext }),
    };
    options.onPlan?.(planMemory(config, needs));
    if (options.memoryCheck !== false) checkMemory(config, needs, dir);
    const { device } = await startTensorFlow();
    const fallback = await gpuFallback(device);
    const { weights, dispose } = await loadWeights(config, checkpoint, checked, {
      dtype: options.dtype ?? 'auto',
      signal: options.signal,
      onProgress: options.onProgress,
    });
    const warnings = [
      ...(fallback === '' ? [] : [fallback]),
      ...new Set([...folder.warnings, ...checkpoint.warnings]),
    ];
    return { config, weights, warnings, loadMs: performance.now() - start, dispose };
  } finally {
    await checkpoint.close();
  }
}
