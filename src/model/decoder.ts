import { reshape, slice, type Tensor1D, type Tensor2D, tidy } from '@tensorflow/tfjs-core';
import { linear } from '../../kernels/linear/index.js';
import { mlp } from '../../kernels/mlp/index.js';
import { selfAttention } from '../../kernels/self-attention/index.js';
import { executeOp } from '../runtime/backend.js';
import { float32Tensor, int32Tensor, toFloat32 } from '../runtime/device-tensors.js';
import type { ModelConfig } from './config.js';
import type { KvCache } from './kv-cache.js';
import { rotations } from './rotation.js';

// R streams (rows), T new tokens a row, N = R * T, V vocabulary; H query heads, G key-value heads of size D.

/** One transformer block; names are the checkpoint's, with projections of one input stacked. */
export interface LayerWeights {
  readonly inputNorm: Tensor1D; // [hidden]
  readonly qkvProj: Tensor2D; // [(H + 2 G) D, hidden]: q_proj, k_proj, v_proj
  readonly qkvBias: Tensor1D | undefined;
  readonly queryNorm: Tensor1D | undefined; // [D], Qwen3
  readonly keyNorm: Tensor1D | undefined;
  readonly oProj: Tensor2D; // [hidden, H D]
  readonly oBias: Tensor1D | undefined;
  readonly postAttentionNorm: Tensor1D;
  readonly gateUpProj: Tensor2D; // [2 intermediate, hidden]: gate_proj, up_proj
  readonly gateUpBias: Tensor1D | undefined;
  readonly downProj: Tensor2D; // [hidden, intermediate]
  readonly downBias: Tensor1D | undefined;
}

/** A decoder on the device: matrices as stored (float32, bfloat16, float16), vectors float32. */
export interface DecoderWeights {
  readonly embedTokens: Tensor2D; // [V, hidden]
  readonly layers: readonly LayerWeights[];
  readonly norm: Tensor1D;
  readonly lmHead: Tensor2D; // [V, hidden]; the same tensor as embedTokens when tied
}

/** A model ready to run. */
export interface DecoderModel {
  readonly config: ModelConfig;
  readonly weights: DecoderWeights;
}

/** New tokens of R streams, padded on the left to T each. */
export interface TokenBatch {
  /** [R * T] token ids; anything valid where padding */
  readonly ids: Int32Array;
  /** [R * T] the position of each token in its own stream; -1 for padding */
  readonly positions: Int32Array;
  /** [R] the cache row of each stream */
  readonly rows: Int32Array;
}

export interface ForwardOptions {
  /** Logits of each stream's last token, or none (when more of the prompt follows). */
  readonly logits: 'last' | 'none';
  /** float32 [V], added to the logits: -Infinity for ids that no token has. */
  readonly logitBias?: Tensor1D | undefined;
}

/**
 * Runs the decoder over new tokens, appends their keys and values to the cache and returns the logits of
 * each stream's last token.
 *
 * @returns float32 [R, V], which the caller disposes; null when `logits` is 'none'.
 */
export function forward(
  { config, weights }: DecoderModel,
  batch: TokenBatch,
  cache: KvCache,
  options: ForwardOptions,
): Tensor2D | null {
  const R = batch.rows.length;
  const T = batch.ids.length / R;
  const epsilon = config.rmsNormEps;
  cache.ensure(1 + batch.positions.reduce((a, b) => Math.max(a, b), 0));

  const last = tidy(() => {
    const angles = rotations(config, batch.positions);
    const places = {
      positions: int32Tensor(batch.positions, [R, T]) as Tensor2D,
      rows: int32Tensor(batch.rows) as Tensor1D,
      rotation: float32Tensor(angles, [R * T, config.headDim]) as Tensor2D,
    };
    const { numHeads, numKeyValueHeads, headDim } = config;
    const heads = { numHeads, numKeyValueHeads, headDim, window: 0 };
    const slidingHeads = { ...heads, window: config.slidingWindow ?? 0 };

    let x = embed(weights.embedTokens, batch.ids); // [N, hidden]
    weights.layers.forEach((layer, index) => {
      const attended = selfAttention({
        x,
        norm: { weight: layer.inputNorm, epsilon },
        qkv: layer.qkvProj,
        qkvBias: layer.qkvBias,
        queryNorm: layer.queryNorm,
        keyNorm: layer.keyNorm,
        o: layer.oProj,
        oBias: layer.oBias,
        places,
        cache: cache.layer(index),
        heads: config.slidingWindowLayers[index] ? slidingHeads : heads,
      }); // [N, hidden]
      x.dispose();
      x = mlp({
        x: attended,
        norm: { weight: layer.postAttentionNorm, epsilon },
        gateUp: layer.gateUpProj,
        gateUpBias: layer.gateUpBias,
        down: layer.downProj,
        downBias: layer.downBias,
      }); // [N, hidden]
      attended.dispose();
    });
    return lastOfEach(x, R, T); // [R, hidden]
  });
  try {
    if (options.logits === 'none') return null;
    const norm = { weight: weights.norm, epsilon };
    return linear({ x: last, weight: weights.lmHead, bias: options.logitBias, norm }); // [R, V]
  } finally {
    last.dispose();
  }
}

/** Rows of the embedding table as float32: [N] -> [N, hidden]. */
function embed(table: Tensor2D, ids: Int32Array): Tensor2D {
  return tidy(() => {
    const axis = int32Tensor(Int32Array.from([0]), []);
    const [rows] = executeOp('GatherV2', [], [table, int32Tensor(ids), axis]);
    return toFloat32(rows!) as Tensor2D;
  });
}

/** The last of each stream's T lines: [R * T, hidden] -> [R, hidden]; padding is on the left. */
function lastOfEach(x: Tensor2D, R: number, T: number): Tensor2D {
  if (T === 1) return x;
  const hidden = x.shape[1];
  return reshape(slice(reshape(x, [R, T, hidden]), [0, T - 1, 0], [R, 1, hidden]), [R, hidden]);
}
