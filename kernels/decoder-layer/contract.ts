import type { Tensor, Tensor1D, Tensor2D } from '@tensorflow/tfjs-core';

// H query heads, G key-value heads of size D; K hidden, I intermediate; R streams, T new tokens of each.

/** How a layer's heads are laid out, and its norms' epsilon. */
export interface LayerShape {
  readonly numHeads: number;
  readonly numKeyValueHeads: number;
  readonly headDim: number;
  /** How many positions back a token sees, itself included; 0 for all */
  readonly window: number;
  /** Whether queries and keys are rotated by their position */
  readonly rotates: boolean;
  /** Epsilon of all RMSNorms */
  readonly epsilon: number;
}

/**
 * The weights of a layer; projections of one input are stacked. Vectors are float32, matrices float32, bfloat16,
 * float16 or quantised, `gateUpProj` then in two parts.
 */
export interface LayerTensors {
  /** RMSNorm of what attention takes (most families), and of what it adds (OLMo 2) */
  readonly inputNorm: Tensor1D | undefined; // [K]
  readonly attentionOutputNorm: Tensor1D | undefined; // [K]
  readonly qkvProj: Tensor2D; // [(H + 2 G) D, K]: q_proj, k_proj, v_proj
  readonly qkvBias: Tensor1D | undefined;
  /** RMSNorm weights, both or neither: of each head, [D] (Qwen3), or of all together, [H D] and [G D] (OLMo 2) */
  readonly queryNorm: Tensor1D | undefined;
  readonly keyNorm: Tensor1D | undefined;
  readonly oProj: Tensor2D; // [K, H D]
  readonly oBias: Tensor1D | undefined;
  /** RMSNorm of what the MLP takes, and of what it adds */
  readonly mlpNorm: Tensor1D | undefined; // [K]
  readonly mlpOutputNorm: Tensor1D | undefined; // [K]
  readonly gateUpProj: Tensor2D; // [2 I, K]: gate_proj, up_proj
  readonly gateUpBias: Tensor1D | undefined;
  readonly downProj: Tensor2D; // [K, I]
  readonly downBias: Tensor1D | undefined;
}

/** A layer ready to run, made by `makeDecoderLayer`. */
export interface DecoderLayer {
  readonly tensors: LayerTensors;
  readonly shape: LayerShape;
  /** What the native form takes in place of a dozen tensors; null where it is not loaded */
  readonly handle: Tensor | null;
}

/** The keys and values of one layer, one line a cache row: slot p of a row holds position p. */
export interface LayerCache {
  /** TensorFlow variables [rows, G, capacity, D] of the type `dtype`, written in place */
  readonly keys: Tensor;
  readonly values: Tensor;
  /** bfloat16 on the CPU alone: keys and values are rounded to the nearest as they are written, and widened as read */
  readonly dtype: 'float32' | 'bfloat16';
  readonly rows: number;
  /** Positions a row can hold */
  readonly capacity: number;
}

/** Where the new tokens of R streams stand, T each. */
export interface TokenPlaces {
  /** int32 [R, T]: the position of each new token in its own stream; -1 marks padding */
  readonly positions: Tensor2D;
  /**
   * int32 [R]: the cache row each stream reads and writes. One may stand several times, with different positions: its tokens
   * see each other in the order of their positions, whichever line they stand in
   */
  readonly rows: Tensor1D;
  /** float32 [P, D], P > every position: cos then sin of the rotary angles of position 0, 1, ..., D / 2 each */
  readonly rotation: Tensor2D;
}

export interface DecoderLayersArgs {
  /** float32 [R * T, K] */
  readonly x: Tensor2D;
  /** Run one after the other, at least one */
  readonly layers: readonly DecoderLayer[];
  readonly places: TokenPlaces;
  /** One for each layer */
  readonly caches: readonly LayerCache[];
}

export type DecoderLayersInputs = {
  x: Tensor2D;
  positions: Tensor2D;
  rows: Tensor1D;
  rotation: Tensor2D;
};
export type DecoderLayersAttrs = {
  layers: readonly DecoderLayer[];
  caches: readonly LayerCache[];
};
