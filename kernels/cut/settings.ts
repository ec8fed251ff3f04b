import { checkCuts, outOfRange } from '../ranges.js';

/** What is kept of one query's stream. */
export interface StreamCut {
  /** The k likeliest tokens; 0 or from V on: all; default 0 */
  readonly topK?: number;
  /** The fewest likeliest tokens whose mass reaches topP of what top-k leaves, at least one; 1 = all; default 1 */
  readonly topP?: number;
  /** The temperature at which masses are taken, > 0; default 1 */
  readonly temperature?: number;
}

/** Columns of a query's settings. */
export const CUT_SETTINGS = { topK: 0, topP: 1, temperature: 2 } as const;
export const CUT_SETTINGS_WIDTH = 3;

/**
 * The lines that `cut` takes as `settings`, one after another: B 3 values for `upload`.
 *
 * @throws SdaError `bad-input` naming the query, the setting, its range and its value.
 */
export function cutSettings(queries: readonly StreamCut[]): Float32Array {
  const values = new Float32Array(queries.length * CUT_SETTINGS_WIDTH);
  for (const [query, { topK = 0, topP = 1, temperature = 1 }] of queries.entries()) {
    checkCuts('cut', query, topK, { topP });
    if (!(temperature > 0 && temperature < Infinity)) {
      throw outOfRange('cut', query, 'temperature', 'a number above 0', temperature);
    }
    values.set([topK, topP, temperature], query * CUT_SETTINGS_WIDTH);
  }
  return values;
}
