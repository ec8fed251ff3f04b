import { keep, type Tensor, type Tensor2D, tensor1d, tidy } from '@tensorflow/tfjs-core';
import { SdaError } from '../../src/errors.js';
import { attr, executeOp } from '../../src/runtime/backend.js';
import { hasNativeKernel } from '../../src/runtime/native.js';
import { toldShapes } from '../../src/runtime/quantised.js';
import { defineKernel } from '../define.js';
import { checkShape } from '../shapes.js';
import type {
  DecoderLayer,
  DecoderLayersArgs,
  DecoderLayersAttrs,
  DecoderLayersInputs,
  LayerShape,
  LayerTensors,
} from './contract.js';
import { decoderLayersReference } from './reference.js';

export * from './contract.js';

const NAME = 'SdaDecoderLayers';

const run = defineKernel<DecoderLayersInputs, DecoderLayersAttrs>({
  name: NAME,
  native: ({ x, positions, rows, rotation }, { layers, caches }) =>
    executeOp(
      NAME,
      [attr.int('L', layers.length)],
      [
        x,
        positions,
        rows,
        rotation,
        ...layers.map(({ handle }) => handle!),
        ...caches.map(({ keys }) => keys),
        ...caches.map(({ values }) => values),
      ],
    ),
  reference: decoderLayersReference,
});

/**
 * Makes a layer of its weights, which must live as long as it does. The caller disposes `handle`.
 *
 * @throws SdaError `bad-tensor` when shapes disagree.
 */
export function makeDecoderLayer(tensors: LayerTensors, shape: LayerShape): DecoderLayer {
  checkLayer(tensors, shape);
  if (!hasNativeKernel(NAME)) return { tensors, shape, handle: null };
  const handle = tidy(() => {
    const absent = tensor1d([], 'float32');
    return executeOp(
      'SdaDecoderLayerWeights',
      [
        attr.int('num_heads', shape.numHeads),
        attr.int('num_key_value_heads', shape.numKeyValueHeads),
        attr.int('head_dim', shape.headDim),
        attr.int('window', shape.window),
        attr.bool('rotates', shape.rotates),
        attr.float('epsilon', shape.epsilon),
        ...toldShapes(tensors.qkvProj, tensors.oProj, tensors.gateUpProj, tensors.downProj),
      ],
      [
        tensors.inputNorm ?? absent,
        tensors.qkvProj,
        tensors.qkvBias ?? absent,
        tensors.queryNorm ?? absent,
        tensors.keyNorm ?? absent,
        tensors.oProj,
        tensors.oBias ?? absent,
        tensors.mlpNorm ?? absent,
        tensors.gateUpProj,
        tensors.gateUpBias ?? absent,
        tensors.downProj,
        tensors.downBias ?? absent,
        tensors.attentionOutputNorm ?? absent,
        tensors.mlpOutputNorm ?? absent,
      ],
    )[0]!;
  });
  return { tensors, shape, handle: keep(handle) };
}

/**
 * Decoder layers, one after the other, for new tokens over a key-value cache of each. With `h = norm(x)` a layer
 * projects h to q, k and v, normalises and rotates queries and keys, writes keys and values into their cache
 * slots, attends to every slot at or before each token's position, `softmax(q k^T / sqrt(D)) v`, projects the result with
 * `o`, normalises it and adds x; then it adds the norm of `(silu(h gate^T) * (h up^T)) down^T` with `h` the norm of that.
 * Norms that a layer does not have, and a rotation that it does not make, are left out. Its result is the x of the next.
 * All in one call: calls cost time of their own.
 *
 * @returns float32 [R * T, K]; lines of padding hold no meaning. The caller disposes it.
 * @throws SdaError `bad-tensor` when shapes disagree. Positions must lie in -1..capacity-1 and below
 *   the lines of rotation, rows in 0..cache.rows-1, and no two tokens at one position of a row; anything else is an error of
 *   the operation, nothing is written.
 */
export function decoderLayers({ x, layers, places, caches }: DecoderLayersArgs): Tensor2D {
  const { positions, rows, rotation } = places;
  checkShape('decoderLayers', 'positions', positions, [null, null]);
  const tokens = positions.shape[0] * positions.shape[1];
  if (layers.length === 0 || caches.length !== layers.length) {
    throw new SdaError(
      'bad-tensor',
      `decoderLayers: there must be a cache for each layer, and a layer, but there are ${layers.length} layers and ${caches.length} caches.`,
    );
  }
  for (const { tensors, shape } of layers) {
    checkShape('decoderLayers', 'x', x, [tokens, tensors.oProj.shape[0]]);
    checkShape('decoderLayers', 'rotation', rotation, [null, shape.headDim]);
  }
  checkShape('decoderLayers', 'rows', rows, [positions.shape[0]]);
  const [y] = run({ x, positions, rows, rotation }, { layers, caches });
  return y as Tensor as Tensor2D;
}

function checkLayer(tensors: LayerTensors, shape: LayerShape): void {
  const { numHeads, numKeyValueHeads, headDim } = shape;
  if (numHeads % numKeyValueHeads !== 0 || headDim % 2 !== 0) {
    throw new SdaError(
      'bad-tensor',
      `makeDecoderLayer: the number of heads (${numHeads}) must be a multiple of the number of key-value heads (${numKeyValueHeads}), and their size (${headDim}) even.`,
    );
  }
  const check = (name: keyof LayerTensors, expected: (number | null)[]) => {
    const tensor = tensors[name];
    if (tensor) checkShape('makeDecoderLayer', name, tensor, expected);
  };
  const width = (numHeads + 2 * numKeyValueHeads) * headDim;
  const hidden = tensors.inputNorm?.shape[0] ?? tensors.oProj.shape[0];
  const together = (tensors.queryNorm?.size ?? 0) > headDim;
  check('inputNorm', [null]);
  check('qkvProj', [width, hidden]);
  check('qkvBias', [width]);
  check('queryNorm', [together ? numHeads * headDim : headDim]);
  check('keyNorm', [together ? numKeyValueHeads * headDim : headDim]);
  check('oProj', [hidden, numHeads * headDim]);
  check('oBias', [hidden]);
  check('attentionOutputNorm', [hidden]);
  check('mlpNorm', [hidden]);
  check('downProj', [hidden, null]);
  const intermediate = tensors.downProj.shape[1];
  check('gateUpProj', [2 * intermediate, hidden]);
  check('gateUpBias', [2 * intermediate]);
  check('downBias', [hidden]);
  check('mlpOutputNorm', [hidden]);
}
