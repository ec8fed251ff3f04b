import type { TensorInfo } from '../checkpoint/checkpoint.js';
import { SdaError } from '../errors.js';
import { BYTES_PER_ELEMENT } from '../runtime/device-tensors.js';
import type { ModelConfig } from './config.js';
import { type CheckedTensors, expectedTensors, type TensorSpec } from './families.js';
import { kvBytesPerToken } from './kv-cache.js';
import type { KvDtype } from './kv-dtype.js';
import type { FloatDtype } from './load.js';
import { stackedName } from './stacks.js';

/** What a loaded model takes of memory, in bytes. */
export interface MemoryPlan {
  readonly weights: number;
  /** Streams that run at once: those of each query, for all queries of a batch. */
  readonly streams: number;
  /** Positions a stream that the cache is planned for. */
  readonly context: number;
  /** What keys and values are stored as. */
  readonly kv: KvDtype;
  /** Keys and values of all streams over `context` positions. */
  readonly kvCache: number;
  /** Activations of a prefill, logits, and the TensorFlow library or what CUDA takes: an estimate. */
  readonly work: number;
  readonly total: number;
  /** Free where the model goes. */
  readonly available: number;
  /** The GPU it goes to; null for the host's memory. */
  readonly device: string | null;
  readonly fits: boolean;
}

/** Contexts that are planned for where none is asked for: longer ones grow the cache when they come. */
const DEFAULT_CONTEXT = 4096;
/** The context that must fit where none is asked for: a short question and its answer. */
const LEAST_CONTEXT = 512;
/** The TensorFlow library and Node, resident before a model is loaded. */
const RUNTIME_BYTES = 400e6;
/** A CUDA context with the kernels of TensorFlow and cuBLAS, and cuBLAS's workspace; an estimate. */
const CUDA_BYTES = 800e6;
/** Columns of a prefill's chunk (`PREFILL_CHUNK` of src/decode/streams.ts). */
const PREFILL_COLUMNS = 512;

/** Number of parameters that a config describes; a tied head counts once. */
export function parameterCount(config: ModelConfig): number {
  return tensorsOnDevice(config).reduce((sum, { shape }) => sum + product(shape), 0);
}

/**
 * Bytes that a checkpoint's tensors take on the device: matrices as stored or as asked for, vectors in float32.
 * Matrices that are stacked and stored in different types become float32, too.
 */
export function plannedWeights(
  { specs }: Pick<CheckedTensors, 'specs'>,
  tensors: ReadonlyMap<string, TensorInfo>,
  dtype: FloatDtype,
): number {
  if (dtype !== 'auto') return bytesOf(specs, BYTES_PER_ELEMENT[dtype]);
  const types = new Map<string, Set<string>>();
  for (const { name } of specs) {
    const stack = stackedName(name);
    types.set(stack, (types.get(stack) ?? new Set()).add(tensors.get(name)?.dtype ?? ''));
  }
  return specs.reduce((sum, spec) => {
    const stored = spec.shape.length > 1 && types.get(stackedName(spec.name))!.size === 1;
    return sum + (stored ? (tensors.get(spec.name)?.byteLength ?? 0) : bytesOf([spec], 4));
  }, 0);
}

/**
 * Bytes of the weights on the device: matrices in `elementBytes` an element, vectors in float32.
 *
 * @param linearBytes of an element of the linear layers; default: the same
 */
export function weightBytes(
  config: ModelConfig,
  elementBytes: number,
  linearBytes = elementBytes,
): number {
  const all = tensorsOnDevice(config);
  const linear = all.filter(({ role }) => role === 'linear');
  const others = all.filter(({ role }) => role !== 'linear');
  return bytesOf(linear, linearBytes) + bytesOf(others, elementBytes);
}

function bytesOf(specs: readonly TensorSpec[], elementBytes: number): number {
  return specs.reduce(
    (sum, { shape }) => sum + product(shape) * (shape.length > 1 ? elementBytes : 4),
    0,
  );
}

/**
 * The memory that a batch needs whose streams have `context` positions, with weights of `weights` bytes.
 *
 * @param streams of each query; default 2
 * @param batch queries that run at once; default 1. Prompts are run one query at a time
 * @param context default: 4,096 or the model's own maximum, where that is less
 * @param kv what keys and values are stored as; default float32
 * @param device the GPU whose memory is counted; default: the host's memory is. On a GPU a reference form may widen a
 *   16-bit matrix, and the largest one counts for that
 */
export function planMemory(
  config: ModelConfig,
  options: {
    readonly weights: number;
    readonly available: number;
    readonly kv?: KvDtype;
    readonly context?: number;
    readonly device?: string | null;
    readonly streams?: number;
    readonly batch?: number;
  },
): MemoryPlan {
  const { weights, available, kv = 'float32', device = null, batch = 1 } = options;
  const ofQuery = options.streams ?? 2;
  const streams = ofQuery * batch;
  const context = options.context ?? Math.min(config.contextLength, DEFAULT_CONTEXT);
  const kvCache = streams * context * kvBytesPerToken(config, kv);
  const rows = Math.max(ofQuery * PREFILL_COLUMNS, streams); // of a prompt's chunk, or of a step
  const lines = 4 * rows * (4 * config.hiddenSize + 3 * config.intermediateSize);
  const runtime = device === null ? RUNTIME_BYTES : CUDA_BYTES + 4 * largestMatrix(config);
  const work = runtime + lines + 4 * streams * 4 * config.vocabSize;
  const total = weights + kvCache + work;
  const fits = total <= available;
  return { weights, streams, context, kv, kvCache, work, total, available, device, fits };
}

function largestMatrix(config: ModelConfig): number {
  return Math.max(...tensorsOnDevice(config).map(({ shape }) => product(shape)));
}

/** A plan in one line, for people. */
export function describePlan(plan: MemoryPlan): string {
  const { weights, streams, context, kvCache, work, total, available, device } = plan;
  const many = `${streams} ${streams === 1 ? 'stream' : 'streams'}`;
  return `weights ${size(weights)} + KV cache ${size(kvCache)} (${many} of ${context} tokens) + about ${size(work)} to work = ${size(total)}, with ${size(available)} free${device === null ? '' : ` on ${device}`}`;
}

/**
 * Refuses a model before it is read: the context that is asked for must fit, or a short one where none is; and a
 * batch before it runs.
 *
 * @param dir the folder, for the sentence
 * @throws SdaError `out-of-memory` with the numbers where it does not.
 */
export function checkMemory(
  config: ModelConfig,
  options: Parameters<typeof planMemory>[1],
  dir: string,
): void {
  const least = Math.min(config.contextLength, LEAST_CONTEXT);
  const plan = planMemory(config, { ...options, context: options.context ?? least });
  if (plan.fits) return;
  const several = (options.batch ?? 1) > 1;
  const fewer = several
    ? 'fewer answers at once (batch, maxBatch), fewer tokens (maxTokens), '
    : '';
  const narrower = plan.kv === 'float32' ? 'half the cache (--kv bfloat16, kv), ' : '';
  throw new SdaError(
    'out-of-memory',
    `${dir} does not fit into memory: ${describePlan(plan)}; take a shorter context (--context, maxContext), ${fewer}${narrower}${plan.device === null ? 'a machine with more memory' : 'a GPU with more memory (CUDA_VISIBLE_DEVICES chooses one, empty takes the CPU)'}, or skip this check (--no-memory-check, memoryCheck: false).`,
  );
}

function tensorsOnDevice(config: ModelConfig) {
  return expectedTensors(config).filter(({ role }) => role !== 'head' || !config.tieWordEmbeddings);
}

function product(shape: readonly number[]): number {
  return shape.reduce((total, size) => total * size, 1);
}

function size(bytes: number): string {
  return bytes >= 1e9 ? `${(bytes / 1e9).toFixed(1)} GB` : `${Math.round(bytes / 1e6)} MB`;
}
