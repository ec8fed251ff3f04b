import { z } from 'zod';
import { SdaError } from '../errors.js';
import { CORES, type CoreName } from '../text/instructions.js';
import type { ScoreOptions } from './score-options.js';

/** One response to score. */
export interface ScoreRow {
  readonly id?: string | undefined;
  readonly query: string;
  readonly response: string;
  readonly core: CoreName;
  /** A score from elsewhere, on any scale */
  readonly expected?: number | undefined;
}

const rowSchema = z.object({
  id: z.union([z.string(), z.number()]).transform(String).optional(),
  query: z.string(),
  response: z.string(),
  core: z.enum(CORES).optional(),
  expected: z.number().optional(),
});

/**
 * What the options ask to score.
 *
 * @throws SdaError `usage` where nothing is; `file-missing`, or `bad-file` naming the line of a row that is none or
 *   has the id of an earlier one
 */
export async function scoreRows(options: ScoreOptions): Promise<ScoreRow[]> {
  const { query, response, responseFile, file, core } = options;
  if (file !== undefined) return rowsOfFile(file, core);
  if (query === undefined || (response ?? responseFile) === undefined) {
    throw new SdaError(
      'usage',
      'There is nothing to score: give --query and --response (or --response-file), or --file.',
    );
  }
  const { textOf } = await import('../evaluate/file.js');
  return [{ query, core, response: response ?? (await textOf(responseFile!)) }];
}

async function rowsOfFile(file: string, core: CoreName): Promise<ScoreRow[]> {
  const { rowsOf, textOf } = await import('../evaluate/file.js');
  const places = new Map<string, string>();
  const rows = rowsOf(await textOf(file), file).map(({ place, value }): ScoreRow => {
    const parsed = rowSchema.safeParse(value);
    if (!parsed.success) {
      const [issue] = parsed.error.issues;
      const field = issue!.path.join('.');
      throw new SdaError(
        'bad-file',
        `${file}, ${place}: expected an object with query, response and where wanted id, core (${CORES.join(', ')}) and expected (a number); ${field === '' ? 'this' : field} is not right (${issue!.message}).`,
      );
    }
    const { id } = parsed.data;
    const earlier = id === undefined ? undefined : places.get(id);
    if (earlier !== undefined) {
      throw new SdaError(
        'bad-file',
        `${file}, ${place}: the id ${JSON.stringify(id)} stands in ${earlier} already; give each row its own.`,
      );
    }
    if (id !== undefined) places.set(id, place);
    return { ...parsed.data, core: parsed.data.core ?? core };
  });
  if (rows.length > 0) return rows;
  throw new SdaError('bad-file', `${file} has no rows: there is nothing to score.`);
}
