import { mul, type Tensor, type Tensor1D, type Tensor2D } from '@tensorflow/tfjs-core';
import {
  type DecoderLayer,
  type LayerShape,
  type LayerTensors,
  makeDecoderLayer,
} from '../../kernels/decoder-layer/index.js';
import type { Checkpoint } from '../checkpoint/checkpoint.js';
import { SdaError } from '../errors.js';
import type { DeviceDtype } from '../runtime/backend.js';
import { castTo, tensorFromBytes } from '../runtime/device-tensors.js';
import {
  type QuantisedShape,
  quantisedBytes,
  quantisedTensor,
  readHeader,
  soundScales,
} from '../runtime/quantised.js';
import type { ModelConfig } from './config.js';
import type { DecoderWeights } from './decoder.js';
import { type CheckedTensors, normNames, type TensorSpec } from './families.js';
import { type Reorder, rowOrderOf } from './partial-rotation.js';
import type { QuantisedDtype } from './quantised-checkpoint.js';
import { stackOf } from './stack.js';
import { stackedName, stackedNames } from './stacks.js';
import { WeightArena } from './weight-arena.js';

/** `auto` keeps each matrix as the checkpoint stores it. */
export type FloatDtype = 'auto' | DeviceDtype;
/** Quantised ones are made of any of the others, see {@link QuantisedDtype}. */
export type WeightDtype = FloatDtype | QuantisedDtype;

export interface LoadProgress {
  readonly bytesRead: number;
  readonly bytesTotal: number;
  /** The tensor just read */
  readonly tensor: string;
}

export interface LoadWeightsOptions {
  readonly dtype: FloatDtype;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: LoadProgress) => void) | undefined;
}

/**
 * Puts a checkpoint's tensors on the device, one at a time. Matrices keep `dtype`, vectors become float32
 * (both exact for 16-bit sources but for a narrowing that `dtype` asks for); matrices that are stacked and stored in
 * different types become float32. What is quantised stays as it is. Names and shapes must have been checked (`checkTensors`): what it did not name is
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
  const loader = new Loader(checkpoint, new Map(specs.map((spec) => [spec.name, spec])), options);
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
  const inOrder = rowOrderOf(config);
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

/** Reads tensors by name; several names are stacked along their first axis. */
class Loader {
  private readonly owned: Tensor[] = [];
  private readonly memory: WeightArena;
  private readonly bytesTotal: number;
  private bytesRead = 0;

  /** @param used the tensors that the model has a use for, by name */
  constructor(
    private readonly checkpoint: Checkpoint,
    private readonly used: ReadonlyMap<string, TensorSpec>,
    private readonly options: LoadWeightsOptions,
  ) {
    const lengths = [...used.keys()].map((name) => checkpoint.tensors.get(name)?.byteLength ?? 0);
    this.bytesTotal = lengths.reduce((sum, length) => sum + length, 0);
    this.memory = new WeightArena(this.bytesTotal);
  }

  /** @param reorder of what is stacked; quantised matrices are stored in order */
  async matrix(names: readonly string[], reorder?: Reorder): Promise<Tensor2D> {
    const name = stackedName(names[0]!);
    const quantised = this.used.get(name)?.quantised;
    if (quantised) return this.quantised(name, quantised);
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
    dtype: FloatDtype,
    reorder?: Reorder,
  ): Promise<Tensor> {
    const stack = stackOf(this.checkpoint, names, (name, into) => this.read(name, into));
    const bytes = this.memory.take(stack.byteLength);
    await stack.read(bytes);
    const { shape, stored } = stack;
    reorder?.(bytes, shape[0]!);
    return this.own(toDevice(bytes, shape, stored, dtype === 'auto' ? stored : dtype));
  }

  private async quantised(name: string, expected: QuantisedShape): Promise<Tensor2D> {
    const bytes = this.memory.take(quantisedBytes(expected));
    await this.read(name, bytes);
    checkQuantised(bytes, expected, `${name} of ${this.checkpoint.tensors.get(name)!.file}`);
    return this.own(quantisedTensor(bytes)) as Tensor2D;
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

/** @throws SdaError `bad-tensor` where a quantised matrix is not what its name says, or has no sound scales */
function checkQuantised(bytes: Uint8Array, expected: QuantisedShape, what: string): void {
  const found = readHeader(bytes);
  const form = ({ bits, rows, columns, parts, form: other }: QuantisedShape) =>
    `[${rows}, ${columns}] in ${bits} bits and ${parts === 1 ? '1 part' : `${parts} parts`}${other ? ' of another maker' : ''}`;
  if (!found || form(found) !== form(expected)) {
    throw new SdaError(
      'bad-tensor',
      `${what} is ${found ? `a matrix ${form(found)}` : 'no quantised matrix'} where one of ${form(expected)} is expected; quantise the model again.`,
    );
  }
  // of others, what gave the bytes has seen to it
  if (expected.form || soundScales(bytes, expected)) return;
  throw new SdaError(
    'bad-tensor',
    `${what} has scales that are negative, infinite or NaN; quantise the model again.`,
  );
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
