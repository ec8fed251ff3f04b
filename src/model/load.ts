import { mul, type Tensor, type Tensor1D, type Tensor2D } from '@tensorflow/tfjs-core';
import {
  type DecoderLayer,
  type LayerShape,
  type LayerTensors,
  makeDecoderLayer,
} from '../../kernels/decoder-layer/index.js';
import type { Checkpoint, TensorInfo } from '../checkpoint/checkpoint.js';
import { isWeightDtype, type WeightDtype as StoredDtype } from '../checkpoint/dtype.js';
import { widen } from '../checkpoint/widen.js';
import { SdaError } from '../errors.js';
import type { DeviceDtype } from '../runtime/backend.js';
import { BYTES_PER_ELEMENT, castTo, tensorFromBytes } from '../runtime/device-tensors.js';
import type { ModelConfig } from './config.js';
import type { DecoderWeights } from './decoder.js';
import { type CheckedTensors, normNames, stackedNames } from './families.js';
import { spreadRotatedRows } from './partial-rotation.js';
import { WeightArena } from './weight-arena.js';

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

const STORED: Readonly<Record<StoredDtype, DeviceDtype>> = {
  F32: 'float32',
  BF16: 'bfloat16',
  F16: 'float16',
};

/**
 * Puts a checkpoint's tensors on the device, one at a time. Matrices keep `dtype`, vectors become float32
 * (both exact for 16-bit sources but for a narrowing that `dtype` asks for); matrices that are stacked and stored in
 * different types become float32. Names and shapes must have been checked (`checkTensors`): what it did not name is
 * not used.
 *
 * @returns the weights and everything to dispose with them.
 * @throws SdaError `unsupported` for a stored type that is no float; `aborted`; what reading throws. Nothing
 *   stays on the device after an error.
 */
export async function loadWeights(
  config: ModelConfig,
  checkpoint: Checkpoint,
  { embedding, head, specs }: Pick<CheckedTensors, 'embedding' | 'head' | 'specs'>,
  options: LoadWeightsOptions,
): Promise<{ weights: DecoderWeights; dispose: () => void }> {
  const loader = new Loader(checkpoint, new Set(specs.map(({ name }) => name)), options);
  try {
    const embedTokens = await loader.matrix([embedding]);
    const layers: DecoderLayer[] = [];
    for (let index = 0; index < config.numLayers; index++) {
      const tensors = await loadLayer(loader, config, `model.layers.${index}.`);
      layers.push(loader.layer(tensors, layerShape(config, index)));
    }
    const norm = await loader.scaledVector(['model.norm.weight'], config.logitsScale);
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
  const rotates = config.rotatedLayers[index]!;
  return { numHeads, numKeyValueHeads, headDim, window, rotates, epsilon };
}

async function loadLayer(
  loader: Loader,
  config: ModelConfig,
  prefix: string,
): Promise<LayerTensors> {
  const { qkv, gateUp } = stackedNames(config);
  const inOrder = config.rotaryDim === config.headDim ? undefined : spreadHeads(config);
  const names = (block: string, projections: readonly string[], kind: string) =>
    projections.map((projection) => `${prefix}${block}.${projection}.${kind}`);
  const [before, after] = config.normsAfter ? [[], normNames(config)] : [normNames(config), []];
  const norm = async (name: string | undefined) =>
    name === undefined ? undefined : loader.vector([`${prefix}${name}.weight`]);
  return {
    inputNorm: await norm(before[0]),
    qkvProj: await loader.matrix(names('self_attn', qkv, 'weight'), inOrder),
    qkvBias: await loader.vectorIfUsed(names('self_attn', qkv, 'bias'), inOrder),
    queryNorm: await loader.vectorIfUsed(names('self_attn', ['q_norm'], 'weight')),
    keyNorm: await loader.vectorIfUsed(names('self_attn', ['k_norm'], 'weight')),
    oProj: await loader.matrix(names('self_attn', ['o_proj'], 'weight')),
    oBias: await loader.vectorIfUsed(names('self_attn', ['o_proj'], 'bias')),
    attentionOutputNorm: await norm(after[0]),
    mlpNorm: await norm(before[1]),
    gateUpProj: await loader.matrix(names('mlp', gateUp, 'weight')),
    gateUpBias: await loader.vectorIfUsed(names('mlp', gateUp, 'bias')),
    downProj: await loader.matrix(names('mlp', ['down_proj'], 'weight')),
    downBias: await loader.vectorIfUsed(names('mlp', ['down_proj'], 'bias')),
    mlpOutputNorm: await norm(after[1]),
  };
}

/** Puts the rows of a stack into the order that the decoder layer needs. */
type Reorder = (bytes: Uint8Array, rows: number) => void;

function spreadHeads(config: ModelConfig): Reorder {
  const heads = config.numHeads + config.numKeyValueHeads;
  return (bytes, rows) => spreadRotatedRows(bytes, rows, heads, config);
}

/** Reads tensors by name; several names are stacked along their first axis. */
class Loader {
  private readonly owned: Tensor[] = [];
  private readonly memory: WeightArena;
  private readonly bytesTotal: number;
  private bytesRead = 0;

  /** @param used the names that the model has a use for */
  constructor(
    private readonly checkpoint: Checkpoint,
    private readonly used: ReadonlySet<string>,
    private readonly options: LoadWeightsOptions,
  ) {
    const lengths = [...used].map((name) => checkpoint.tensors.get(name)?.byteLength ?? 0);
    this.bytesTotal = lengths.reduce((sum, length) => sum + length, 0);
    this.memory = new WeightArena(this.bytesTotal);
  }

  async matrix(names: readonly string[], reorder?: Reorder): Promise<Tensor2D> {
    return (await this.stack(names, this.options.dtype, reorder)) as Tensor2D;
  }

  async vector(names: readonly string[], reorder?: Reorder): Promise<Tensor1D> {
    return (await this.stack(names, 'float32', reorder)) as Tensor1D;
  }

  async scaledVector(names: readonly string[], scale: number): Promise<Tensor1D> {
    const vector = await this.vector(names);
    return scale === 1 ? vector : (this.own(mul(vector, scale)) as Tensor1D);
  }

  async vectorIfUsed(names: readonly string[], reorder?: Reorder): Promise<Tensor1D | undefined> {
    return names.every((name) => this.used.has(name)) ? this.vector(names, reorder) : undefined;
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

  private async stack(
    names: readonly string[],
    dtype: WeightDtype,
    reorder?: Reorder,
  ): Promise<Tensor> {
    const infos = names.map((name) => this.info(name));
    const stored = infos.every(({ device }) => device === infos[0]!.device)
      ? infos[0]!.device
      : 'float32';
    const rows = infos.reduce((sum, info) => sum + info.shape[0]!, 0);
    const shape = [rows, ...infos[0]!.shape.slice(1)];
    const sizes = infos.map(({ shape }) => BYTES_PER_ELEMENT[stored] * elementsOf(shape));
    const bytes = this.memory.take(sizes.reduce((sum, size) => sum + size, 0));
    let offset = 0;
    for (const [i, info] of infos.entries()) {
      await this.fill(info, stored, bytes.subarray(offset, offset + sizes[i]!));
      offset += sizes[i]!;
    }
    reorder?.(bytes, rows);
    return this.own(toDevice(bytes, shape, stored, dtype === 'auto' ? stored : dtype));
  }

  /** Reads a tensor as `stored`, which is its own type or float32. */
  private async fill(info: StoredTensor, stored: DeviceDtype, into: Uint8Array): Promise<void> {
    if (info.device === stored) return this.read(info.name, into);
    const narrow = new Uint8Array(info.byteLength);
    await this.read(info.name, narrow);
    widen(narrow, info.dtype, into);
  }

  private info(name: string): StoredTensor {
    const info = this.checkpoint.tensors.get(name);
    if (!info) {
      throw new SdaError('bad-tensor', `${this.checkpoint.dir}: the tensor ${name} is missing.`);
    }
    const { dtype } = info;
    if (!isWeightDtype(dtype)) {
      throw new SdaError(
        'unsupported',
        `${info.file}: the tensor ${name} is stored as ${info.dtype}, but only F32, F16 and BF16 can be loaded: convert the checkpoint.`,
      );
    }
    return { ...info, name, dtype, device: STORED[dtype] };
  }

  private async read(name: string, into: Uint8Array): Promise<void> {
    const { signal, onProgress } = this.options;
    if (signal?.aborted)
      throw new SdaError('aborted', 'Loading was stopped before the model was complete.');
    await this.checkpoint.read(name, into);
    this.bytesRead += into.byteLength;
    onProgress?.({ bytesRead: this.bytesRead, bytesTotal: this.bytesTotal, tensor: name });
  }

  private own(tensor: Tensor): Tensor {
    this.owned.push(tensor);
    return tensor;
  }
}

interface StoredTensor extends TensorInfo {
  readonly dtype: StoredDtype;
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
  try {
    return castTo(tensor, target);
  } finally {
    tensor.dispose();
  }
}

function elementsOf(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1);
}
