import type { Tensor, Tensor1D, Tensor2D } from '@tensorflow/tfjs-core';
import {
  type DecoderLayer,
  type LayerShape,
  type LayerTensors,
  makeDecoderLayer,
} from '../../kernels/decoder-layer/index.js';
import type { Checkpoint, TensorInfo } from '../checkpoint/checkpoint.js';
import { SdaError } from '../errors.js';
import { attr, type DeviceDtype, executeOp } from '../runtime/backend.js';
import { castTo, int32Tensor, tensorFromBytes } from '../runtime/device-tensors.js';
import { weightMemory } from '../runtime/native.js';
import type { ModelConfig } from './config.js';
import type { DecoderWeights } from './decoder.js';
import type { CheckedTensors } from './families.js';

/** `auto` keeps each matrix as the checkpoint stores it. */
export type WeightDtype = 'auto' | DeviceDtype;

export interface LoadProgress {
  readonly bytesRead: number;
  readonly bytesTotal: number;
  /** The tensor just read */
  readonly tensor: string;
}

export interface LoadWeightsOptions {
  readonly dtype: WeightDtype;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: LoadProgress) => void) | undefined;
}

const STORED: Readonly<Record<string, DeviceDtype>> = {
  F32: 'float32',
  BF16: 'bfloat16',
  F16: 'float16',
};

/**
 * Puts a checkpoint's tensors on the device, one at a time. Matrices keep `dtype`, vectors become float32
 * (both exact for 16-bit sources but for a narrowing that `dtype` asks for). Names and shapes must have been
 * checked (`checkTensors`).
 *
 * @returns the weights and everything to dispose with them.
 * @throws SdaError `unsupported` for a stored type that is no float; `aborted`; what reading throws. Nothing
 *   stays on the device after an error.
 */
export async function loadWeights(
  config: ModelConfig,
  checkpoint: Checkpoint,
  { embedding, head }: Pick<CheckedTensors, 'embedding' | 'head'>,
  options: LoadWeightsOptions,
): Promise<{ weights: DecoderWeights; dispose: () => void }> {
  const loader = new Loader(checkpoint, options);
  try {
    const embedTokens = await loader.matrix([embedding]);
    const layers: DecoderLayer[] = [];
    for (let index = 0; index < config.numLayers; index++) {
      const tensors = await loadLayer(loader, `model.layers.${index}.`);
      layers.push(loader.layer(tensors, layerShape(config, index)));
    }
    const norm = await loader.vector(['model.norm.weight']);
    const lmHead = head === embedding ? embedTokens : await loader.matrix([head]);
    return { weights: { embedTokens, layers, norm, lmHead }, dispose: () => loader.dispose() };
  } catch (error) {
    loader.dispose();
    throw error;
  }
}

function layerShape(config: ModelConfig, index: number): LayerShape {
  const { numHeads, numKeyValueHeads, headDim, rmsNormEps: epsilon } = config;
  const window = config.slidingWindowLayers[index] ? (config.slidingWindow ?? 0) : 0;
  return { numHeads, numKeyValueHeads, headDim, window, epsilon };
}

async function loadLayer(loader: Loader, prefix: string): Promise<LayerTensors> {
  const names = (block: string, projections: string[], kind: string) =>
    projections.map((projection) => `${prefix}${block}.${projection}.${kind}`);
  const qkv = ['q_proj', 'k_proj', 'v_proj'];
  const gateUp = ['gate_proj', 'up_proj'];
  return {
    inputNorm: await loader.vector([`${prefix}input_layernorm.weight`]),
    qkvProj: await loader.matrix(names('self_attn', qkv, 'weight')),
    qkvBias: await loader.vectorIfPresent(names('self_attn', qkv, 'bias')),
    queryNorm: await loader.vectorIfPresent(names('self_attn', ['q_norm'], 'weight')),
    keyNorm: await loader.vectorIfPresent(names('self_attn', ['k_norm'], 'weight')),
    oProj: await loader.matrix(names('self_attn', ['o_proj'], 'weight')),
    oBias: await loader.vectorIfPresent(names('self_attn', ['o_proj'], 'bias')),
    postAttentionNorm: await loader.vector([`${prefix}post_attention_layernorm.weight`]),
    gateUpProj: await loader.matrix(names('mlp', gateUp, 'weight')),
    gateUpBias: await loader.vectorIfPresent(names('mlp', gateUp, 'bias')),
    downProj: await loader.matrix(names('mlp', ['down_proj'], 'weight')),
    downBias: await loader.vectorIfPresent(names('mlp', ['down_proj'], 'bias')),
  };
}

/** Reads tensors by name; several names are stacked along their first axis. */
class Loader {
  private readonly checkpoint: Checkpoint;
  private readonly options: LoadWeightsOptions;
  private readonly owned: Tensor[] = [];
  private readonly memory: WeightArena;
  private bytesRead = 0;

  constructor(checkpoint: Checkpoint, options: LoadWeightsOptions) {
    this.checkpoint = checkpoint;
    this.options = options;
    this.memory = new WeightArena(checkpoint.totalBytes);
  }

  async matrix(names: readonly string[]): Promise<Tensor2D> {
    return (await this.stack(names, this.options.dtype)) as Tensor2D;
  }

  async vector(names: readonly string[]): Promise<Tensor1D> {
    return (await this.stack(names, 'float32')) as Tensor1D;
  }

  async vectorIfPresent(names: readonly string[]): Promise<Tensor1D | undefined> {
    return names.every((name) => this.checkpoint.tensors.has(name))
      ? this.vector(names)
      : undefined;
  }

  layer(tensors: LayerTensors, shape: LayerShape): DecoderLayer {
    const layer = makeDecoderLayer(tensors, shape);
    if (layer.handle) this.owned.push(layer.handle);
    return layer;
  }

  dispose(): void {
    for (const tensor of this.owned) tensor.dispose();
    this.owned.length = 0;
  }

  private async stack(names: readonly string[], dtype: WeightDtype): Promise<Tensor> {
    const infos = names.map((name) => this.info(name));
    const stored = infos.map(({ device }) => device);
    const uniform = stored.every((type) => type === stored[0]);
    const target = dtype !== 'auto' ? dtype : uniform ? stored[0]! : 'float32';
    const shape = [
      infos.reduce((rows, info) => rows + info.shape[0]!, 0),
      ...infos[0]!.shape.slice(1),
    ];

    if (!uniform) return this.own(concatRows(await this.parts(infos, target)));
    const bytes = this.memory.take(infos.reduce((sum, info) => sum + info.byteLength, 0));
    let offset = 0;
    for (const { name, byteLength } of infos) {
      await this.read(name, bytes.subarray(offset, offset + byteLength));
      offset += byteLength;
    }
    return this.own(toDevice(bytes, shape, stored[0]!, target));
  }

  /** Each tensor by itself, as `target`; for a stack of tensors that are stored in different types. */
  private async parts(infos: readonly StoredTensor[], target: DeviceDtype): Promise<Tensor[]> {
    const parts: Tensor[] = [];
    for (const { name, byteLength, shape, device } of infos) {
      const bytes = new Uint8Array(byteLength);
      await this.read(name, bytes);
      parts.push(toDevice(bytes, shape, device, target));
    }
    return parts;
  }

  private info(name: string): StoredTensor {
    const info = this.checkpoint.tensors.get(name);
    if (!info) {
      throw new SdaError('bad-tensor', `${this.checkpoint.dir}: the tensor ${name} is missing.`);
    }
    const device = STORED[info.dtype];
    if (!device) {
      throw new SdaError(
        'unsupported',
        `${info.file}: the tensor ${name} is stored as ${info.dtype}, but only F32, F16 and BF16 can be loaded: convert the checkpoint.`,
      );
    }
    return { ...info, device };
  }

  private async read(name: string, into: Uint8Array): Promise<void> {
    const { signal, onProgress } = this.options;
    if (signal?.aborted)
      throw new SdaError('aborted', 'Loading was stopped before the model was complete.');
    await this.checkpoint.read(name, into);
    this.bytesRead += into.byteLength;
    onProgress?.({
      bytesRead: this.bytesRead,
      bytesTotal: this.checkpoint.totalBytes,
      tensor: name,
    });
  }

  private own(tensor: Tensor): Tensor {
    this.owned.push(tensor);
    return tensor;
  }
}

/** Largest piece of memory that weights share. */
const ARENA_BYTES = 256 * 2 ** 20;
const ALIGNMENT = 64;

/**
 * Hands out memory for weights from a few large pieces, which can lie on huge pages as small ones cannot. A piece
 * is freed with the last tensor in it.
 */
class WeightArena {
  private left: number;
  private piece: Uint8Array = new Uint8Array(0);

  /** @param expected bytes that will be asked for in all */
  constructor(expected: number) {
    this.left = expected;
  }

  take(bytes: number): Uint8Array {
    const reserved = Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;
    if (reserved > this.piece.byteLength) {
      this.piece = weightMemory(Math.max(reserved, Math.min(this.left, ARENA_BYTES)));
    }
    const taken = this.piece.subarray(0, bytes);
    this.piece = this.piece.subarray(reserved);
    this.left = Math.max(0, this.left - reserved);
    return taken;
  }
}

interface StoredTensor extends TensorInfo {
  /** Its element type in TensorFlow's terms */
  readonly device: DeviceDtype;
}

/** Bytes as stored -> a tensor of the wanted type; the cast is TensorFlow's. */
function toDevice(
  bytes: Uint8Array,
  shape: readonly number[],
  stored: DeviceDtype,
  target: DeviceDtype,
): Tensor {
  const tensor = tensorFromBytes(bytes, shape, stored);
  if (stored === target) return tensor;
  const converted = castTo(tensor, target);
  tensor.dispose();
  return converted;
}

/** Concatenation along the first axis that also takes 16-bit tensors; disposes the parts. */
function concatRows(parts: Tensor[]): Tensor {
  const axis = int32Tensor(Int32Array.from([0]), []);
  const [whole] = executeOp('ConcatV2', [attr.int('N', parts.length)], [...parts, axis]);
  for (const tensor of [...parts, axis]) tensor.dispose();
  return whole!;
}
