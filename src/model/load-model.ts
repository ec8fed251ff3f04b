import { type AdapterSource, withAdapters } from '../checkpoint/adapter/merge.js';
import { SdaError } from '../errors.js';
import { matrixProduct } from '../runtime/matrix-product.js';
import { hostMemory, modelMemory } from '../runtime/memory.js';
import { gpuFallback, startTensorFlow } from '../runtime/tensorflow.js';
import type { ModelConfig } from './config.js';
import type { DecoderModel } from './decoder.js';
import { openFolder } from './folder.js';
import { hubToLoad } from './hub/carried.js';
import { describeHub } from './hub/describe.js';
import type { KvDtype } from './kv-dtype.js';
import { type LoadProgress, loadWeights, type WeightDtype } from './load.js';
import { checkMemory, type MemoryPlan, planMemory, plannedWeights } from './memory-plan.js';
import { OWN_METHOD } from './quantised.js';
import { isQuantisedDtype, quantisedCheckpoint } from './quantised-checkpoint.js';
import { quantisedObstacle } from './quantised-device.js';

export interface LoadDecoderOptions {
  /**
   * Type of the matrices on the device; default `auto`: as the checkpoint stores them, quantised ones of other makers
   * too where the kernels have their form, else in the model's dtype. `int8` and `int4` quantise them as they are read; a
   * GPU needs compute capability 8.0 for them.
   */
  readonly dtype?: WeightDtype;
  /**
   * Type of the keys and values of each position; default float32. bfloat16 takes half the memory, and rounds each once.
   */
  readonly kv?: KvDtype | undefined;
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
  readonly kv: KvDtype;
  /**
   * How the checkpoint has quantised weights, such as `GPTQ, groups of 128`; null where it has none of another maker, and
   * where they are quantised anew.
   */
  readonly quantisedBy: string | null;
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
  const { config, hub, ...folder } = await openFolder(dir, options);
  let { checkpoint, checked } = folder;
  try {
    const stored = config.quantisation === OWN_METHOD;
    if (stored) refuseChanges(dir, options);
    checkpoint = await withAdapters(checkpoint, options.adapters ?? [], { product: matrixProduct });
    let memory = await modelMemory();
    if (memory.place === 'device' && (await startTensorFlow()).device === 'cpu') {
      memory = hostMemory();
    }
    let { dtype = 'auto' } = options;
    const { kv = 'float32' } = options;
    const quantised = stored || isQuantisedDtype(dtype);
    if (isQuantisedDtype(dtype)) {
      ({ checkpoint, checked } = quantisedCheckpoint(config, checkpoint, checked, dtype));
      dtype = 'auto';
    } else if (hub && dtype === 'auto') {
      const merged = (options.adapters ?? []).length > 0;
      const asFloats = merged || (memory.place === 'device' && (await quantisedObstacle()) !== '');
      ({ checkpoint, checked } = hubToLoad(config, hub, { checkpoint, checked }, asFloats));
    }
    const needs = {
      weights: plannedWeights(checked, checkpoint.tensors, dtype),
      available: memory.available,
      device: memory.device,
      kv,
      ...(options.maxContext !== undefined && { context: options.maxContext }),
    };
    options.onPlan?.(planMemory(config, needs));
    if (options.memoryCheck !== false) checkMemory(config, needs, dir);
    const { device } = await startTensorFlow();
    const obstacle = quantised ? await quantisedObstacle() : '';
    if (obstacle !== '') throw notQuantisedHere(dir, obstacle);
    const fallback = await gpuFallback(device);
    const { weights, dispose } = await loadWeights(config, checkpoint, checked, {
      dtype,
      signal: options.signal,
      onProgress: options.onProgress,
    });
    const warnings = [
      ...(fallback === '' ? [] : [fallback]),
      ...new Set([...folder.warnings, ...checkpoint.warnings]),
    ];
    const anew = isQuantisedDtype(options.dtype ?? 'auto');
    const quantisedBy = hub && !anew ? describeHub(hub) : null;
    const loadMs = performance.now() - start;
    return { config, weights, kv, warnings, quantisedBy, loadMs, dispose };
  } finally {
    await checkpoint.close();
  }
}

/** @throws SdaError `bad-input` where options ask for other weights than the quantised ones that a folder holds */
function refuseChanges(dir: string, { dtype = 'auto', adapters = [] }: LoadDecoderOptions): void {
  if (dtype !== 'auto') {
    throw new SdaError(
      'bad-input',
      `${dir} holds quantised weights, which are used as they are, where ${dtype} is asked for; leave --dtype (dtype) out, or quantise the original again.`,
    );
  }
  if (adapters.length > 0) {
    throw new SdaError(
      'bad-input',
      `${dir} holds quantised weights, into which no adapter can be merged; give adapters when quantising ("sda quantise --adapter").`,
    );
  }
}

function notQuantisedHere(dir: string, obstacle: string): SdaError {
  return new SdaError(
    'unsupported',
    `${dir} cannot run with quantised weights (int8, int4) on this GPU: ${obstacle}; set CUDA_VISIBLE_DEVICES="" for the CPU, or take bfloat16.`,
  );
}
