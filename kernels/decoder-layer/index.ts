import { keep, type Tensor, type Tensor2D, tensor1d, tidy } from '@tensorflow/tfjs-core';
import { SdaError } from '../../src/errors.js';
import { attr, executeOp } from '../../src/runtime/backend.js';
import { hasNativeKernel } from '../../src/runtime/native.js';
import { defineKernel } from '../define.js';
import { checkShape } from '../shapes.js';
import type {
  DecoderLayer,
  DecoderLayerArgs,
  DecoderLayerAttrs,
  DecoderLayerInputs,
  LayerShape,
  LayerTensors,
} from './contract.js';
import { decoderLayerReference } from './reference.js';

export * from './contract.js';

const NAME = 'SdaDecoderLayer';

const run = defineKernel<DecoderLayerInputs, DecoderLayerAttrs>({
  name: NAME,
  native: ({ x, positions, rows, rotation, keys, values }, { layer }) =>
    executeOp(NAME, [], [x, layer.handle!, positions, rows, rotation, keys, values]),
  reference: decoderLayerReference,
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
        attr.float('epsilon', shape.epsilon),
      ],
      [
        tensors.inputNorm,
        tensors.qkvProj,
        tensors.qkvBias ?? absent,
        tensors.queryNorm ?? absent,
        tensors.keyNorm ?? absent,
        tensors.oProj,
        tensors.oBias ?? absent,
        tensors.postAttentionNorm,
        tensors.gateUpProj,
        tensors.gateUpBias ?? absent,
        tensors.downProj,
        tensors.downBias ?? absent,
      ],
    )[0]!;
  });
  return { tensors, shape, handle: keep(handle) };
}

/**
 * One decoder layer for new tokens over a key-value cache. With `h = norm(x)`: projects h to q, k and v,
 * normalises (optional) and rotates queries and keys, writes keys and values into their cache slots, attends to
 * every slot at or before each token's position, `softmax(q k^T / sqrt(D)) v`, projects the result with `o` and
 * adds x; then adds `(silu(h gate^T) * (h up^T)) down^T` with `h` the norm of that.
 *
 * @returns float32 [R * T, K]; lines of padding hold no meaning. The caller disposes it.
 * @throws SdaError `bad-tensor` when shapes disagree. Positions must lie in -1..capacity-1 and below
 *   the lines of rotation, and rows in 0..cache.rows-1; anything else is an error of the operation, nothing is written.
 */
export function decoderLayer({ x, layer, places, cache }: DecoderLayerArgs): Tensor2D {
  const { positions, rows, rotation } = places;
  checkShape('decoderLayer', 'positions', positions, [null, null]);
  const tokens = positions.shape[0] * positions.shape[1];
  checkShape('decoderLayer', 'x', x, [tokens, layer.tensors.inputNorm.shape[0]]);
  checkShape('decoderLayer', 'rows', rows, [positions.shape[0]]);
  checkShape('decoderLayer', 'rotation', rotation, [null, layer.shape.headDim]);
  const { keys, values } = cache;
  const [y] = run({ x, positions, rows, rotation, keys, values }, { layer, cache });
  return y as Tensor as Tensor2D;
}

function checkLayer(tensors: LayerTensors, shape: LayerShape): void {
  const { numHeads, numKeyValueHeads, headDim } = shape;
  if (numHeads % numKeyValueHeads !== 0 || headDim % 2 !== 0) {
    throw new SdaError(
      'bad-tensor',
      `decoderLayer: the number of heads (${numHeads}) must be a multiple of the number of key-value heads (${numKeyValueHeads}), and their size (${headDim}) even.`,
    );
  }
  const check = (name: keyof LayerTensors, expected: (number | null)[]) => {
    const tensor = tensors[name];
    if (tensor) checkShape('decoderLayer', name, tensor, expected);
  };
  const width = (numHeads + 2 * numKeyValueHeads) * headDim;
  check('inputNorm', [null]);
  const hidden = tensors.inputNorm.shape[0];
  check('qkvProj', [width, hidden]);
  check('qkvBias', [width]);
  check('queryNorm', [headDim]);
  check('keyNorm', [headDim]);
  check('oProj', [hidden, numHeads * headDim]);
  check('oBias', [hidden]);
  check('postAttentionNorm', [hidden]);
  check('downProj', [hidden, null]);
  const intermediate = tensors.downProj.shape[1];
  check('gateUpProj', [2 * intermediate, hidden]);
  check('gateUpBias', [2 * intermediate]);
  check('downBias', [hidden]);
}
