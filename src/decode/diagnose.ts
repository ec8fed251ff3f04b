import { type DecoderModel, forward } from '../model/decoder.js';
import { KvCache } from '../model/kv-cache.js';
import { chunks } from './streams.js';

/**
 * Where the hidden states of some streams first stop being finite, as a clause for people. Runs each stream once
 * more, alone, and reads every layer's output back: for errors only.
 *
 * @param streams token ids of each
 */
export function whereNotFinite(model: DecoderModel, streams: readonly (readonly number[])[]) {
  const layers = model.config.numLayers;
  const first = Math.min(...streams.map((ids) => firstBadLayer(model, ids)));
  if (first === layers) return `the hidden states are finite after all ${layers} layers`;
  return `the hidden states are not finite from layer ${first} of 0..${layers - 1} on`;
}

/** Index of the first layer with an output that is not finite; the number of layers where there is none. */
function firstBadLayer(model: DecoderModel, ids: readonly number[]): number {
  let first = model.config.numLayers;
  const cache = new KvCache(model.config, 1, ids.length, ids.length, model.kv);
  try {
    for (const batch of chunks([{ row: 0, ids, start: 0 }])) {
      forward(model, batch, cache, {
        logits: 'none',
        promptLength: ids.length,
        onLayer: (layer, x) => {
          if (layer < first && !x.dataSync().every(Number.isFinite)) first = layer;
        },
      });
    }
  } finally {
    cache.dispose();
  }
  return first;
}
