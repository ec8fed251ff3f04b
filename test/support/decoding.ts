import {
  type DecodeEvent,
  type DecodeOptions,
  decode,
  type Query,
} from '../../src/decode/generate.js';
import type { Streams } from '../../src/decode/streams.js';
import { resolveSettings, type SdaSettings } from '../../src/method/settings.js';
import { sdaRule } from '../../src/method/step.js';
import type { DecoderModel } from '../../src/model/decoder.js';

export const MAX_CONTEXT = 128;

export function queryOf(streams: Streams, more: Partial<Query> = {}): Query {
  return { streams, amplification: 0.5, seed: 1, maxTokens: 16, ...more };
}

export function plainOptions(
  settings: Partial<SdaSettings>,
  more: Partial<DecodeOptions> = {},
): DecodeOptions {
  const rule = sdaRule(resolveSettings(settings));
  return { rule, stopIds: new Set(), maxContext: MAX_CONTEXT, ...more };
}

export interface Run {
  /** Events of each query */
  readonly events: DecodeEvent[][];
  readonly ids: number[][];
}

/** Runs to the end. */
export async function run(
  model: DecoderModel,
  queries: readonly Query[],
  options: DecodeOptions,
): Promise<Run> {
  const events: DecodeEvent[][] = queries.map(() => []);
  for await (const batch of decode(model, queries, options)) {
    for (const event of batch) events[event.query]!.push(event);
  }
  return { events, ids: events.map((list) => list.map(({ choice }) => choice.id)) };
}
