import { gather, keep, type Tensor2D, tidy } from '@tensorflow/tfjs-core';
import { type DecoderModel, forward, head, type TokenBatch } from '../model/decoder.js';
import { KvCache } from '../model/kv-cache.js';
import { chunks } from './streams.js';

/**
 * Logits of the tokens that follow some of `ids`, from one pass over all of them.
 *
 * @param positions 0 is the first of `ids`; ascending, each once
 * @returns vocabSize values of each
 */
export async function logitsAt(
  model: DecoderModel,
  ids: readonly number[],
  positions: readonly number[],
): Promise<Float32Array[]> {
  const cache = new KvCache(model.config, 1, ids.length, ids.length, model.kv);
  const found: Float32Array[] = [];
  try {
    for (const batch of chunks([{ row: 0, ids, start: 0 }])) {
      const wanted = [...batch.positions.keys()].filter((column) =>
        positions.includes(batch.positions[column]!),
      );
      const logits = logitsOfColumns(model, batch, wanted, { cache, length: ids.length });
      if (!logits) continue;
      try {
        const V = logits.shape[1];
        const values = (await logits.data()) as Float32Array;
        wanted.forEach((_, line) => {
          found.push(values.slice(line * V, (line + 1) * V));
        });
      } finally {
        logits.dispose();
      }
    }
    return found;
  } finally {
    cache.dispose();
  }
}

/** Runs a batch of one stream. @returns float32 [columns, V]; null where there are none. */
function logitsOfColumns(
  model: DecoderModel,
  batch: TokenBatch,
  columns: readonly number[],
  { cache, length }: { readonly cache: KvCache; readonly length: number },
): Tensor2D | null {
  let logits: Tensor2D | null = null;
  const last = model.config.numLayers - 1;
  forward(model, batch, cache, {
    logits: 'none',
    promptLength: length,
    onLayer: (layer, x) => {
      if (layer < last || columns.length === 0) return;
      logits = keep(tidy(() => head(model, gather(x, [...columns]), {})));
    },
  });
  return logits;
}
