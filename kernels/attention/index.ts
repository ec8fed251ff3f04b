import type { Tensor, Tensor1D, Tensor2D } from '@tensorflow/tfjs-core';
import { attr, executeOp } from '../../src/runtime/backend.js';
import { defineKernel } from '../define.js';
import { checkShape } from '../shapes.js';
import { attentionReference } from './reference.js';

/** The keys and values of one layer, one line a cache row: slot p of a row holds position p. */
export interface LayerCache {
  /** TensorFlow variables float32 [rows, numKeyValueHeads, capacity, headDim], written in place. */
  readonly keys: Tensor;
  readonly values: Tensor;
  readonly rows: number;
  /** Positions a row can hold. */
  readonly capacity: number;
}

export interface AttentionArgs {
  /** float32 [R * T, (numHeads + 2 numKeyValueHeads) * headDim]: the projections q, k, v side by side. */
  readonly qkv: Tensor2D;
  /** int32 [R, T]: the position of each new token in its own stream; -1 marks padding. */
  readonly positions: Tensor2D;
  /** int32 [R]: the cache row each of the R streams reads and writes, all different. */
  readonly rows: Tensor1D;
  /** float32 [R * T, headDim]: cos then sin of the token's rotary angles, headDim / 2 each. */
  readonly rotation: Tensor2D;
  /** RMSNorm weights per head, float32 [headDim] (Qwen3). */
  readonly queryNorm?: Tensor1D | undefined;
  readonly keyNorm?: Tensor1D | undefined;
  readonly cache: LayerCache;
  readonly numHeads: number;
  readonly numKeyValueHeads: number;
  readonly headDim: number;
  /** How many positions back a token sees, itself included; 0 for all. */
  readonly window: number;
  /** Epsilon of the head norms. */
  readonly epsilon: number;
}

export type AttentionInputs = {
  qkv: Tensor2D;
  positions: Tensor2D;
  rows: Tensor1D;
  rotation: Tensor2D;
  keys: Tensor;
  values: Tensor;
  queryNorm: Tensor1D | undefined;
  keyNorm: Tensor1D | undefined;
};
export type AttentionAttrs = Pick<
  AttentionArgs,
  'numHeads' | 'numKeyValueHeads' | 'headDim' | 'window' | 'epsilon'
> & { capacity: number; cacheRows: number };

const run = defineKernel<AttentionInputs, AttentionAttrs>({
  name: 'SdaAttention',
  native: (inputs, attrs) => {
    const { qkv, positions, rows, rotation, keys, values, queryNorm, keyNorm } = inputs;
    return executeOp(
      'SdaAttention',
      [
        attr.int('num_heads', attrs.numHeads),
        attr.int('num_key_value_heads', attrs.numKeyValueHeads),
        attr.int('head_dim', attrs.headDim),
        attr.int('window', attrs.window),
        attr.bool('has_query_norm', queryNorm !== undefined),
        attr.bool('has_key_norm', keyNorm !== undefined),
        attr.float('epsilon', attrs.epsilon),
      ],
      [qkv, positions, rows, rotation, keys, values, queryNorm ?? qkv, keyNorm ?? qkv],
    );
  },
  reference: attentionReference,
});

/**
 * Causal grouped-query attention of new tokens over a key-value cache. Normalises (optional) and rotates
 * queries and keys, writes keys and values into their cache slots, then attends to every slot at or before
 * each token's position: `softmax(q k^T / sqrt(headDim)) v`.
 *
 * @returns float32 [R * T, numHeads * headDim]; lines of padding hold no meaning. The caller disposes it.
 * @throws SdaError `bad-tensor` when shapes disagree. Positions must lie in -1..capacity-1 and rows in
 *   0..cache.rows-1; anything else is an error of the operation, nothing is written.
 */
export function attention(args: AttentionArgs): Tensor2D {
  const { qkv, positions, rows, rotation, queryNorm, keyNorm, cache, ...rest } = args;
  const { numHeads, numKeyValueHeads, headDim } = rest;
  checkShape('attention', 'positions', positions, [null, null]);
  const tokens = positions.shape[0] * positions.shape[1];
  checkShape('attention', 'rows', rows, [positions.shape[0]]);
  checkShape('attention', 'qkv', qkv, [tokens, (numHeads + 2 * numKeyValueHeads) * headDim]);
  checkShape('attention', 'rotation', rotation, [tokens, headDim]);
  if (queryNorm) checkShape('attention', 'queryNorm', queryNorm, [headDim]);
  if (keyNorm) checkShape('attention', 'keyNorm', keyNorm, [headDim]);
  const [y] = run(
    { qkv, positions, rows, rotation, keys: cache.keys, values: cache.values, queryNorm, keyNorm },
    { ...rest, capacity: cache.capacity, cacheRows: cache.rows },
  );
  return y as Tensor as Tensor2D;
}
