import type { Tensor, Tensor1D, Tensor2D } from '@tensorflow/tfjs-core';
import { attr, executeOp } from '../../src/runtime/backend.js';
import { defineKernel } from '../define.js';
import type { InputNorm } from '../linear/index.js';
import { checkShape } from '../shapes.js';
import { selfAttentionReference } from './reference.js';

/** The keys and values of one layer, one line a cache row: slot p of a row holds position p. */
export interface LayerCache {
  /** TensorFlow variables float32 [rows, numKeyValueHeads, capacity, headDim], written in place. */
  readonly keys: Tensor;
  readonly values: Tensor;
  readonly rows: number;
  /** Positions a row can hold. */
  readonly capacity: number;
}

/** Where the new tokens of R streams stand, T each. */
export interface TokenPlaces {
  /** int32 [R, T]: the position of each new token in its own stream; -1 marks padding. */
  readonly positions: Tensor2D;
  /** int32 [R]: the cache row each stream reads and writes, all different. */
  readonly rows: Tensor1D;
  /** float32 [R * T, headDim]: cos then sin of the token's rotary angles, headDim / 2 each. */
  readonly rotation: Tensor2D;
}

/** How the heads of a layer are laid out. */
export interface HeadShape {
  readonly numHeads: number;
  readonly numKeyValueHeads: number;
  readonly headDim: number;
  /** How many positions back a token sees, itself included; 0 for all. */
  readonly window: number;
}

export interface SelfAttentionArgs {
  /** float32 [R * T, K] */
  readonly x: Tensor2D;
  /** RMSNorm of the input; its epsilon also serves the head norms. */
  readonly norm: InputNorm;
  /** float32, bfloat16 or float16 [(numHeads + 2 numKeyValueHeads) * headDim, K]: q_proj, k_proj, v_proj */
  readonly qkv: Tensor2D;
  readonly qkvBias?: Tensor1D | undefined;
  /** float32, bfloat16 or float16 [K, numHeads * headDim]: o_proj */
  readonly o: Tensor2D;
  readonly oBias?: Tensor1D | undefined;
  /** RMSNorm weights per head, float32 [headDim], both or neither (Qwen3). */
  readonly queryNorm?: Tensor1D | undefined;
  readonly keyNorm?: Tensor1D | undefined;
  readonly places: TokenPlaces;
  readonly cache: LayerCache;
  readonly heads: HeadShape;
}

export type SelfAttentionInputs = {
  x: Tensor2D;
  norm: Tensor1D;
  qkv: Tensor2D;
  qkvBias: Tensor1D | undefined;
  o: Tensor2D;
  oBias: Tensor1D | undefined;
  queryNorm: Tensor1D | undefined;
  keyNorm: Tensor1D | undefined;
  positions: Tensor2D;
  rows: Tensor1D;
  rotation: Tensor2D;
  keys: Tensor;
  values: Tensor;
};
export type SelfAttentionAttrs = HeadShape & {
  epsilon: number;
  capacity: number;
  cacheRows: number;
};

const run = defineKernel<SelfAttentionInputs, SelfAttentionAttrs>({
  name: 'SdaSelfAttention',
  native: (inputs, { numHeads, numKeyValueHeads, headDim, window, epsilon }) => {
    const { x, norm, qkv, qkvBias, o, oBias, queryNorm, keyNorm } = inputs;
    const present = [qkvBias, oBias, queryNorm].map((input) => (input ? 1 : 0));
    const shape = [numHeads, numKeyValueHeads, headDim, window, ...present];
    return executeOp(
      'SdaSelfAttention',
      [attr.ints('shape', shape), attr.float('epsilon', epsilon)],
      [
        x,
        norm,
        qkv,
        qkvBias ?? x,
        o,
        oBias ?? x,
        queryNorm ?? x,
        keyNorm ?? x,
        inputs.positions,
        inputs.rows,
        inputs.rotation,
        inputs.keys,
        inputs.values,
      ],
    );
  },
  reference: selfAttentionReference,
});

/**
 * The attention half of a decoder block with its residual, for new tokens over a key-value cache: projects the
 * normalised input to q, k and v, normalises (optional) and rotates queries and keys, writes keys and values
 * into their cache slots, attends to every slot at or before each token's position,
 * `softmax(q k^T / sqrt(headDim)) v`, projects the result with `o` and adds `x`.
 *
 * @returns float32 [R * T, K]; lines of padding hold no meaning. The caller disposes it.
 * @throws SdaError `bad-tensor` when shapes disagree. Positions must lie in -1..capacity-1 and rows in
 *   0..cache.rows-1; anything else is an error of the operation, nothing is written.
 */
export function selfAttention(args: SelfAttentionArgs): Tensor2D {
  const { x, norm, qkv, qkvBias, o, oBias, queryNorm, keyNorm, cache, heads } = args;
  const { positions, rows, rotation } = args.places;
  const { numHeads, numKeyValueHeads, headDim } = heads;
  const check = (name: string, tensor: Tensor | undefined, shape: (number | null)[]) => {
    if (tensor) checkShape('selfAttention', name, tensor, shape);
  };
  check('positions', positions, [null, null]);
  const tokens = positions.shape[0] * positions.shape[1];
  check('x', x, [tokens, null]);
  const hidden = x.shape[1];
  const width = (numHeads + 2 * numKeyValueHeads) * headDim;
  check('norm', norm.weight, [hidden]);
  check('qkv', qkv, [width, hidden]);
  check('qkvBias', qkvBias, [width]);
  check('o', o, [hidden, numHeads * headDim]);
  check('oBias', oBias, [hidden]);
  check('queryNorm', queryNorm ?? keyNorm, [headDim]);
  check('keyNorm', queryNorm && (keyNorm ?? x), [headDim]);
  check('rows', rows, [positions.shape[0]]);
  check('rotation', rotation, [tokens, headDim]);
  const { keys, values } = cache;
  const [y] = run(
    {
      x,
      norm: norm.weight,
      qkv,
      qkvBias,
      o,
      oBias,
      queryNorm,
      keyNorm,
      positions,
      rows,
      rotation,
      keys,
      values,
    },
    { ...heads, epsilon: norm.epsilon, capacity: cache.capacity, cacheRows: cache.rows },
  );
  return y as Tensor as Tensor2D;
}
