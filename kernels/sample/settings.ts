import { checkCuts } from '../ranges.js';

/** How one query's token is drawn. */
export interface Cuts {
  /** Keep the k likeliest tokens; 0 = all */
  readonly topK: number;
  /** Nucleus: keep the fewest likeliest tokens whose mass reaches topP, at least one; 1 = all */
  readonly topP: number;
  /** Keep tokens at least minP times as likely as the likeliest; 0 = all */
  readonly minP: number;
  /** Take the likeliest token, the lowest id of equals; the cuts and the query's uniform number are ignored. */
  readonly greedy: boolean;
}

/** Columns of a query's settings. */
export const SAMPLE_SETTINGS = { topK: 0, topP: 1, minP: 2, greedy: 3 } as const;
export const SAMPLE_SETTINGS_WIDTH = 4;

/** Which queries are greedy, in the order in which the native form numbers it. */
export const GREEDY = ['none', 'some', 'all'] as const;

/** What the queries of a call have in common: it decides what has to run. */
export interface SampleKinds {
  /** Whether the queries' top-k are looked at: elsewhere they count as 0 */
  readonly topK: boolean;
  /** Which queries take the likeliest token: those whose setting says so, or all, or none, whatever it says */
  readonly greedy: (typeof GREEDY)[number];
}

/**
 * What `sample` takes of B queries: their lines one after another, B 4 values for `upload`, and their kinds.
 *
 * @throws SdaError `bad-input` naming the query, the setting, its range and its value.
 */
export function sampleSettings(queries: readonly Cuts[]): {
  values: Float32Array;
  kinds: SampleKinds;
} {
  const values = new Float32Array(queries.length * SAMPLE_SETTINGS_WIDTH);
  let [greedy, anyTopK] = [0, false];
  for (const [query, cuts] of queries.entries()) {
    const { topK, topP, minP } = cuts;
    checkCuts('sample', query, topK, { topP, minP });
    values.set([topK, topP, minP, Number(cuts.greedy)], query * SAMPLE_SETTINGS_WIDTH);
    if (cuts.greedy) greedy++;
    else anyTopK ||= topK > 0;
  }
  const which = greedy === 0 ? 'none' : greedy === queries.length ? 'all' : 'some';
  return { values, kinds: { topK: anyTopK, greedy: which } };
}
