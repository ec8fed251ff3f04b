import type { Tensor } from '@tensorflow/tfjs-core';
import type { ModelConfig } from '../model/config.js';
import type { DecoderWeights } from '../model/decoder.js';
import { kvBytesPerToken } from '../model/kv-cache.js';
import type { KvDtype } from '../model/kv-dtype.js';
import { type DeviceDtype, deviceDtype } from '../runtime/backend.js';
import { BYTES_PER_ELEMENT } from '../runtime/device-tensors.js';
import { isQuantised, quantisedByteLength } from '../runtime/quantised.js';

/**
 * Bytes of weights that one forward of a few tokens reads: every matrix and vector once, the head included.
 * Of an embedding table that is not the head it reads a line a token, which is left out.
 */
export function weightBytesRead({ layers, norm, lmHead }: DecoderWeights): number {
  const tensors = layers.flatMap((layer) => Object.values(layer.tensors) as (Tensor | undefined)[]);
  return [...tensors, norm, lmHead].reduce((sum, tensor) => sum + bytesOf(tensor), 0);
}

/**
 * Bytes of keys and values that one decode step reads, as the mean over a run: step i of a stream attends to
 * its prompt and i + 1 tokens.
 *
 * @param promptLengths of the streams that are decoded
 * @param tokens drawn in the run; the first comes from the prefill
 * @param kv what the cache holds
 */
export function kvBytesRead(
  config: ModelConfig,
  promptLengths: readonly number[],
  tokens: number,
  kv: KvDtype,
): number {
  const attended = promptLengths.reduce((sum, length) => sum + length + tokens / 2, 0);
  return attended * kvBytesPerToken(config, kv);
}

function bytesOf(tensor: Tensor | undefined): number {
  if (tensor && isQuantised(tensor)) return quantisedByteLength(tensor);
  return tensor ? tensor.size * BYTES_PER_ELEMENT[deviceDtype(tensor) as DeviceDtype] : 0;
}
