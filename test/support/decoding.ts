import { expect } from 'vitest';
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
import { hasNativeKernel } from '../../src/runtime/native.js';
import { expectClose } from './close.js';
import { TOLERANCE } from './tolerances.js';

export const MAX_CONTEXT = 128;

export function queryOf(
  streams: Streams,
  { amplification = 0.5, ...more }: Partial<Query> & { amplification?: number } = {},
): Query {
  return { streams, settings: { amplification }, seed: 1, maxTokens: 16, ...more };
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

/**
 * That queries have the same ids and ends, and the same numbers: to the bit with the native kernels, which promise it;
 * up to rounding without them, since TensorFlow's own products depend on the batch.
 */
export function expectSameTexts(
  found: readonly (readonly DecodeEvent[])[],
  expected: readonly (readonly DecodeEvent[])[],
): void {
  const texts = (lists: typeof found) =>
    lists.map((list) =>
      list.map(({ choice, finishReason }) => [choice.id, choice.continues, finishReason]),
    );
  const numbers = (lists: typeof found) =>
    lists.flat().flatMap(({ choice: { id: _, continues: __, ...rest } }) => Object.values(rest));
  expect(texts(found)).toEqual(texts(expected));
  expectSameBits(numbers(found), numbers(expected));
}

/** To the bit with the native kernels, up to rounding without them: see `expectSameTexts`. */
export function expectSameBits(found: number[], expected: number[]): void {
  if (hasNativeKernel('SdaDecoderLayers')) expect(found).toEqual(expected);
  else expectClose(found, expected, TOLERANCE.sameModel);
}
