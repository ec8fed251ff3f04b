import {
  concat2d,
  mul,
  reshape,
  slice,
  type Tensor1D,
  type Tensor2D,
  tidy,
} from '@tensorflow/tfjs-core';
import { type DecoderLayer, decoderLayers } from '../../kernels/decoder-layer/index.js';
import { embed } from '../../kernels/embed/index.js';
import { linear } from '../../kernels/linear/index.js';
import { gatherLines, int32Tensor } from '../runtime/device-tensors.js';
import type { ModelConfig } from './config.js';
import type { KvCache } from './kv-cache.js';
import type { KvDtype } from './kv-dtype.js';

// R streams (rows), T new tokens a row, N = R * T, V vocabulary; H query heads, G key-value heads of size D.

/** A decoder on the device: matrices as stored (float32, bfloat16, float16), vectors float32. */
export interface DecoderWeights {
  readonly embedTokens: Tensor2D; // [V, hidden]
  readonly layers: readonly DecoderLayer[];
  readonly norm: Tensor1D; // times the config's logitsScale
  readonly lmHead: Tensor2D; // [V, hidden]; the same tensor as embedTokens when tied
}

/** A model ready to run. */
export interface DecoderModel {
  readonly config: ModelConfig;
  readonly weights: DecoderWeights;
  /** What the caches of its streams hold; default float32 */
  readonly kv?: KvDtype | undefined;
}

/** New tokens of R streams, padded on the left to T each. */
export interface TokenBatch {
  /** [R * T] token ids; `~line` is the token that line `line` of `drawn` begins with; anything valid where padding */
  readonly ids: Int32Array;
  /** float32 [L, W], on the device; the caller disposes it */
  readonly drawn?: Tensor2D | undefined;
  /** [R * T] the position of each token in its own stream; -1 for padding */
  readonly positions: Int32Array;
  /** [R] the cache row of each stream; one may stand several times, with different positions */
  readonly rows: Int32Array;
}

export interface ForwardOptions {
  /** Logits of each stream's last token, of all its tokens, of these lines, or none (when more of the prompt follows). */
  readonly logits: 'last' | 'all' | 'none' | readonly number[];
  /**
   * Positions of the whole prompt that the batch is a part of, where more of it follows: rotary angles that depend on
   * the length are those of all of it, as in one pass. Default: the positions up to the batch's last
   */
  readonly promptLength?: number | undefined;
  /** float32 [V], added to the logits: -Infinity for ids that no token has. */
  readonly logitBias?: Tensor1D | undefined;
  /** Sees the output of each layer, float32 [R * T, hidden], which it must not keep. */
  readonly onLayer?: (layer: number, x: Tensor2D) => void;
  /**
   * After how many layers (0 is the embedding, ascending, each once) the hidden state of a token whose logits are read is
   * read too: they follow its logits in the same line. Default: none
   */
  readonly taps?: readonly number[] | undefined;
}

/**
 * Runs the decoder over new tokens, appends their keys and values to the cache and returns the logits of
 * each stream's last token, or of those that are asked for.
 *
 * @returns float32 [R, V + taps * hidden], with 'all' [R * T, ...], with lines one each, which the caller disposes; null when
 *   `logits` is 'none'.
 */
export function forward(
  model: DecoderModel,
  batch: TokenBatch,
  cache: KvCache,
  options: ForwardOptions,
): Tensor2D | null {
  const { config, weights } = model;
  const R = batch.rows.length;
  const T = batch.ids.length / R;
  const length = 1 + batch.positions.reduce((a, b) => Math.max(a, b), 0);
  cache.ensure(length);
  const rotation = cache.rotation(Math.max(length, options.promptLength ?? 0));

  const { logits: read } = options;
  const outputOf = (x: Tensor2D) => {
    if (read === 'all') return x;
    if (typeof read === 'string') return lastOfEach(x, R, T);
    return gatherLines(x, Int32Array.from(read)) as Tensor2D;
  };
  const [output, ...tapped] = tidy(() => {
    const places = {
      positions: int32Tensor(batch.positions, [R, T]) as Tensor2D,
      rows: int32Tensor(batch.rows) as Tensor1D,
      rotation,
    };
    let x = embed({ table: weights.embedTokens, ids: batch.ids, drawn: batch.drawn }); // [N, hidden]
    if (config.embeddingScale !== 1) x = mul(x, config.embeddingScale);
    const read: Tensor2D[] = [];
    let done = 0; // layers that have run
    for (const until of stopsOf(options, weights.layers.length)) {
      if (until > done) {
        const layers = weights.layers.slice(done, until);
        const caches = layers.map((_, index) => cache.layer(done + index));
        x = decoderLayers({ x, layers, places, caches });
        options.onLayer?.(until - 1, x);
      }
      if (options.taps?.includes(until)) read.push(outputOf(x));
      done = until;
    }
    return [outputOf(x), ...read]; // [R, hidden] each
  }) as [Tensor2D, ...Tensor2D[]];
  try {
    if (read === 'none') return null;
    const logits = () => head(model, output, { bias: options.logitBias }); // [R, V]
    return tapped.length === 0 ? logits() : tidy(() => concat2d([logits(), ...tapped], 1));
  } finally {
    for (const tensor of [output, ...tapped]) tensor.dispose();
  }
}

/**
 * Logits of hidden states.
 *
 * @param x float32 [M, hidden]
 * @param options.bias float32 [V], added to each line
 * @param options.norm apply the last norm first; default true
 * @returns float32 [M, V]; the caller disposes it.
 */
export function head(
  { config, weights }: DecoderModel,
  x: Tensor2D,
  { bias, norm = true }: { readonly bias?: Tensor1D | undefined; readonly norm?: boolean },
): Tensor2D {
  const { norm: weight, lmHead } = weights;
  if (norm)
    return linear({ x, weight: lmHead, bias, norm: { weight, epsilon: config.rmsNormEps } });
  // the norm's weights, which are left out here, have the scale of the logits in them
  return tidy(() => linear({ x: mul(x, config.logitsScale), weight: lmHead, bias }));
}

/** After how many layers something is looked at, and that of all: ascending. */
function stopsOf({ onLayer, taps = [] }: ForwardOptions, layers: number): number[] {
  const each = onLayer ? Array.from({ length: layers }, (_, layer) => layer + 1) : [];
  return [...new Set([...each, ...taps, layers])].sort((a, b) => a - b);
}

/** The last of each stream's T lines: [R * T, hidden] -> [R, hidden]; padding is on the left. */
function lastOfEach(x: Tensor2D, R: number, T: number): Tensor2D {
  if (T === 1) return x;
  const hidden = x.shape[1];
  return reshape(slice(reshape(x, [R, T, hidden]), [0, T - 1, 0], [R, 1, hidden]), [R, hidden]);
}
