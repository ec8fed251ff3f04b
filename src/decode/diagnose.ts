import { SdaError } from '../errors.js';
import { type DecoderModel, forward } from '../model/decoder.js';
import { KvCache } from '../model/kv-cache.js';
import type { Running } from './running.js';
import { chunks } from './streams.js';

/** An error of unusable logits in a step of some queries that also says at which step and from which layer on; any other as it is. */
export function withPlace(error: unknown, queries: readonly Running[]): unknown {
  if (!(error instanceof SdaError) || error.code !== 'bad-logits') return error;
  const steps = [...new Set(queries.map(({ drawn }) => drawn.length))];
  const step = steps.length === 1 ? `step ${steps[0]}` : `steps ${steps.join(', ')}`;
  const message = error.message.replace(/\.$/, '');
  const streams = new Map<DecoderModel, number[][]>();
  for (const { query, drawn, decoding } of queries) {
    for (const [stream, model] of decoding.models.entries()) {
      const ids = [...query.streams[stream]!, ...drawn];
      streams.set(model, [...(streams.get(model) ?? []), ids]);
    }
  }
  const layers = [...streams].map(([model, some]) => whereNotFinite(model, some));
  return new SdaError(error.code, `At ${step}, ${message}; ${layers.join('; ')}.`, {
    cause: error,
  });
}

/**
 * Where the hidden states of some streams first stop being finite, as a clause for people. Runs each stream once
 * more, alone, and reads every layer's output back: for errors only.
 *
 * @param streams token ids of each
 */
function whereNotFinite(model: DecoderModel, streams: readonly (readonly number[])[]) {
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
