import {
  mul,
  type Tensor,
  type Tensor1D,
  type Tensor2D,
  tensor,
  tidy,
} from '@tensorflow/tfjs-core';
import {
  type DecoderLayer,
  decoderLayers,
  type LayerCache,
  type LayerShape,
  type LayerTensors,
  makeDecoderLayer,
  type TokenPlaces,
} from '../../kernels/decoder-layer/index.js';
import { decoderLayersReference } from '../../kernels/decoder-layer/reference.js';
import type { ModelConfig } from '../../src/model/config.js';
import type { KvDtype } from '../../src/model/kv-dtype.js';
import { rotations } from '../../src/model/rotation.js';
import { attr, type DeviceDtype, executeOp, TfDtype } from '../../src/runtime/backend.js';
import { toFloat32 } from '../../src/runtime/device-tensors.js';
import { Random } from './random.js';
import { valuesOf } from './tensorflow.js';

export interface Heads {
  readonly numHeads: number;
  readonly numKeyValueHeads: number;
  readonly headDim: number;
}

/** The part of a configuration that a cache and a rotation need. */
export function configOf(heads: Heads): ModelConfig {
  const rope = { type: 'default', theta: 10_000 };
  return {
    ...heads,
    rotaryDim: heads.headDim,
    attentionScale: null,
    numLayers: 1,
    rope,
  } as unknown as ModelConfig;
}

/** One call: the new positions of each cache row that takes part, in the order of `rows`. */
export interface Call {
  readonly rows: readonly number[];
  readonly positions: readonly (readonly number[])[];
}

export const P = -1; // padding

/** Prefill of ragged prompts, a chunk that continues them, then decoding, also of a subset in another order. */
export const CALLS: readonly Call[] = [
  {
    rows: [0, 1, 2],
    positions: [
      [0, 1, 2, 3, 4],
      [P, P, 0, 1, 2],
      [P, P, P, P, 0],
    ],
  },
  {
    rows: [2, 0],
    positions: [
      [P, 1, 2],
      [5, 6, 7],
    ],
  },
  { rows: [0, 1, 2], positions: [[8], [3], [3]] },
  { rows: [1], positions: [[4]] },
  { rows: [2, 1], positions: [[4], [5]] },
  { rows: [0, 1, 0, 0, 2], positions: [[7], [8], [8], [P], [0]] },
];

export function read(variable: Tensor, dtype: KvDtype = 'float32'): number[] {
  return tidy(() => {
    const type = attr.type('dtype', TfDtype[dtype]);
    return valuesOf(toFloat32(executeOp('ReadVariableOp', [type], [variable])[0]!));
  });
}

/** The lines of a result that belong to real tokens. */
export function realLines(values: number[], call: Call, width: number): number[] {
  return call.positions
    .flat()
    .flatMap((position, line) =>
      position < 0 ? [] : values.slice(line * width, (line + 1) * width),
    );
}

export interface Options {
  readonly window?: number;
  readonly headNorms?: boolean;
  /** Norms of what is added, and of all heads together, in place of those of the inputs */
  readonly normsAfter?: boolean;
  readonly rotates?: boolean;
  readonly biases?: boolean;
  readonly dtype?: DeviceDtype;
}

export const HIDDEN = 37;
export const INTERMEDIATE = 53;

/** Random weights. The caller disposes them (use a tidy). */
export function weightsOf(heads: Heads, random: Random, options: Options): LayerTensors {
  const { numHeads, numKeyValueHeads, headDim } = heads;
  const { headNorms = false, normsAfter = false, biases = false, dtype = 'float32' } = options;
  const width = (numHeads + 2 * numKeyValueHeads) * headDim;
  const scale = 2 / Math.sqrt(HIDDEN);
  const bias = (size: number) => (biases ? random.vector(size) : undefined);
  const norm = (after: boolean) => (after === normsAfter ? random.vector(HIDDEN) : undefined);
  const headNorm = (heads: number) => {
    if (normsAfter) return random.vector(heads * headDim);
    return headNorms ? random.vector(headDim) : undefined;
  };
  return {
    inputNorm: norm(false),
    attentionOutputNorm: norm(true),
    qkvProj: random.matrix(width, HIDDEN, scale, dtype),
    qkvBias: bias(width),
    queryNorm: headNorm(numHeads),
    keyNorm: headNorm(numKeyValueHeads),
    oProj: random.matrix(HIDDEN, numHeads * headDim, 1 / Math.sqrt(headDim), dtype),
    oBias: bias(HIDDEN),
    mlpNorm: norm(false),
    mlpOutputNorm: norm(true),
    gateUpProj: random.matrix(2 * INTERMEDIATE, HIDDEN, scale, dtype),
    gateUpBias: bias(2 * INTERMEDIATE),
    // a layer may mix types
    downProj: random.matrix(HIDDEN, INTERMEDIATE, scale, dtype === 'float16' ? 'float32' : dtype),
    downBias: bias(HIDDEN),
  };
}

export function shapeOf(heads: Heads, window = 0, rotates = true): LayerShape {
  return { ...heads, window, rotates, epsilon: 1e-6 };
}

/** Random inputs of one call of a layer. The caller disposes them (use a tidy). */
export function inputsOf(call: Call, heads: Heads, random: Random) {
  const [R, T] = [call.rows.length, call.positions[0]!.length];
  const positions = Int32Array.from(call.positions.flat());
  const count = 1 + Math.max(0, ...positions);
  return {
    x: random.matrix(R * T, HIDDEN),
    places: {
      positions: tensor(positions, [R, T], 'int32') as Tensor2D,
      rows: tensor(Int32Array.from(call.rows), [R], 'int32') as Tensor1D,
      rotation: tensor(rotations(configOf(heads), count), [count, heads.headDim]) as Tensor2D,
    },
  };
}

export const absent = {
  attentionOutputNorm: undefined,
  mlpOutputNorm: undefined,
  qkvBias: undefined,
  queryNorm: undefined,
  keyNorm: undefined,
  oBias: undefined,
  gateUpBias: undefined,
  downBias: undefined,
} as const;

/** Runs `body` with a layer of random weights and disposes everything; `scale` multiplies q, k and v. */
export function withLayer(
  heads: Heads,
  options: Options,
  { scale = 1 }: { scale?: number },
  body: (layer: DecoderLayer, random: Random) => void,
): void {
  tidy(() => {
    const random = new Random(1);
    const tensors = weightsOf(heads, random, options);
    const qkvProj = scale === 1 ? tensors.qkvProj : (mul(tensors.qkvProj, scale) as Tensor2D);
    const layer = makeDecoderLayer({ ...tensors, qkvProj }, shapeOf(heads, options.window));
    try {
      body(layer, random);
    } finally {
      layer.handle?.dispose();
    }
  });
}

export interface DecoderLayerArgs {
  readonly x: Tensor2D;
  readonly layer: DecoderLayer;
  readonly places: TokenPlaces;
  readonly cache: LayerCache;
}

/** One layer alone. */
export function decoderLayer({ x, layer, places, cache }: DecoderLayerArgs): Tensor2D {
  return decoderLayers({ x, layers: [layer], places, caches: [cache] });
}

export function runReference({ x, places, layer }: DecoderLayerArgs, cache: LayerCache): Tensor {
  return decoderLayersReference({ x, ...places }, { layers: [layer], caches: [cache] })[0]!;
}

export const HEADS: readonly Heads[] = [
  { numHeads: 4, numKeyValueHeads: 2, headDim: 12 },
  { numHeads: 4, numKeyValueHeads: 4, headDim: 16 },
  { numHeads: 4, numKeyValueHeads: 1, headDim: 20 },
  { numHeads: 9, numKeyValueHeads: 3, headDim: 64 },
  { numHeads: 3, numKeyValueHeads: 3, headDim: 128 },
  { numHeads: 1, numKeyValueHeads: 1, headDim: 2 },
];
