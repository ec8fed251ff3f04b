import { checkNumber, checkShare, checkTopK } from '../ranges.js';

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
export function cutSettings(queries: readonly StreamCut[]): number[] {
  return queries.flatMap(({ topK = 0, topP = 1, temperature = 1 }, query) => {
    checkTopK({ kernel: 'cut', query, name: 'topK', value: topK });
    checkShare({ kernel: 'cut', query, name: 'topP', value: topP });
    const holds = temperature > 0 && temperature < Infinity;
    checkNumber(
      { kernel: 'cut', query, name: 'temperature', value: temperature },
      'a number above 0',
      holds,
    );
    return [topK, topP, temperature];
  });
}
