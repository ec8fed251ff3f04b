import { reshape, type Tensor2D, tidy, transpose } from '@tensorflow/tfjs-core';
import { chunks } from '../decode/streams.js';
import { SdaError } from '../errors.js';
import type { SdaModel } from '../generate/sda-model.js';
import type { SdaSettings } from '../method/settings.js';
import { sdaDistribution } from '../method/step.js';
import { forward } from '../model/decoder.js';
import { KvCache } from '../model/kv-cache.js';
import type { BenchPrompts } from './prompts.js';

/** Places of the text that are run at a time: their logits, [2 PLACES, V], are in memory together. */
const PLACES = 32;

/** The distributions of SDA at some places of a text, one a line. */
export interface Places {
  /** Logits of the base stream, float32 [n, V] */
  readonly base: Tensor2D;
  /** log P', float32 [n, V] */
  readonly steered: Tensor2D;
  /** JS and T first, see the kernel `step` */
  readonly stats: Tensor2D;
}

/** A model that is told the same text after both prompts of SDA, token by token, whatever it would say itself. */
export class ForcedText {
  private readonly cache: KvCache;
  private readonly streams: readonly (readonly number[])[];
  private readonly starts: readonly number[];
  private done = 0;

  /** @param text at least one token; both prompts with it must fit the model's context */
  constructor(
    private readonly model: SdaModel,
    private readonly settings: SdaSettings,
    { baseIds, instructedIds }: BenchPrompts,
    private readonly text: readonly number[],
  ) {
    const prompts = [baseIds, instructedIds];
    this.streams = prompts.map((ids) => [...ids, ...text.slice(0, -1)]);
    this.starts = prompts.map((ids) => ids.length - 1);
    const length = Math.max(...this.streams.map((ids) => ids.length));
    if (length > model.maxContext) {
      throw new SdaError(
        'context-exceeded',
        `Prompt and text take ${length} positions, but the context of ${model.dir} holds ${model.maxContext}: give a smaller --text-tokens.`,
      );
    }
    this.cache = new KvCache(model.config, prompts.length, length, length, model.decoder.kv);
    for (const batch of chunks(
      prompts.map((ids, row) => ({ row, ids: ids.slice(0, -1), start: 0 })),
    )) {
      forward(model.decoder, batch, this.cache, { logits: 'none' });
    }
  }

  /** The next places, `PLACES` or what is left; the caller disposes the tensors. */
  next(): Places {
    const count = Math.min(PLACES, this.text.length - this.done);
    const places = Array.from({ length: count }, (_, place) => this.done + place);
    const inputs = this.starts.flatMap((start, row) =>
      places.map((place) => ({ id: this.streams[row]![start + place]!, position: start + place })),
    );
    const batch = {
      ids: Int32Array.from(inputs, ({ id }) => id),
      positions: Int32Array.from(inputs, ({ position }) => position),
      rows: Int32Array.from(this.starts.keys()),
    };
    this.done += count;
    const logits = forward(this.model.decoder, batch, this.cache, { logits: 'all' })!; // [2 n, V]
    try {
      const V = logits.shape[1];
      const inTurn = tidy(() =>
        transpose(reshape(logits, [2, count, V]), [1, 0, 2]).reshape([2 * count, V]),
      );
      const amplifications = places.map(() => this.settings.amplification);
      const { logProbs, stats } = sdaDistribution(
        inTurn as Tensor2D,
        this.settings,
        amplifications,
      );
      inTurn.dispose();
      const base = tidy(() => logits.slice([0, 0], [count, V]));
      return { base, steered: logProbs, stats };
    } finally {
      logits.dispose();
    }
  }

  dispose(): void {
    this.cache.dispose();
  }
}
