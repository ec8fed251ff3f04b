import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import { messageOf, SdaError } from '../errors.js';
import { foreignValue, parseRows } from './json-rows.js';
import { type Evaluator, localProvenance } from './types.js';

const rowSchema = z.object({
  id: z.union([z.string(), z.number()]).optional(),
  query: z.string().optional(),
  score: z.number().min(0).max(100),
});

/** Where a row stands, such as "line 3". */
export interface Row {
  readonly place: string;
  readonly value: unknown;
}

/**
 * Scores made elsewhere: JSONL with an object a line, or one JSON array of them, each `{"id": ..., "score": 85}` or
 * `{"query": ..., "score": 85}`. A row with an id is found by it alone. Further keys are ignored.
 *
 * @throws SdaError `file-missing`, or `bad-file` naming the line (of an array: the item) of a row that is no such
 *   object, and both lines of a row that is there twice
 */
export async function fileEvaluator(file: string): Promise<Evaluator> {
  const scores = readScores(await textOf(file), file);
  return {
    name: 'file',
    async score({ id, query }) {
      const found =
        (id === undefined ? undefined : scores.get(keyOf('id', id))) ??
        scores.get(keyOf('query', query));
      const provenance = localProvenance('file');
      if (found !== undefined) return { status: 'scored', score: found, provenance };
      const what = id === undefined ? 'this query' : `the id ${JSON.stringify(id)}`;
      return {
        status: 'failed',
        kind: 'missing',
        reason: `${file} has no score for ${what}: add one.`,
        provenance,
      };
    },
  };
}

/** Scores by key; see `keyOf`. */
function readScores(text: string, file: string): Map<string, number> {
  const scores = new Map<string, number>();
  const places = new Map<string, string>();
  for (const { place, value } of rowsOf(text, file)) {
    const row = rowSchema.safeParse(value);
    if (!row.success || (row.data.id === undefined && row.data.query === undefined)) {
      throw new SdaError(
        'bad-file',
        `${file}, ${place}: expected an object with an id or a query and a score in 0..100, found ${excerpt(value)}; correct it.`,
      );
    }
    const { id, query, score } = row.data;
    const key = id === undefined ? keyOf('query', query!) : keyOf('id', String(id));
    const earlier = places.get(key);
    if (earlier !== undefined) {
      throw new SdaError(
        'bad-file',
        `${file}, ${place}: the ${id === undefined ? 'query' : `id ${JSON.stringify(id)}`} stands in ${earlier} already; keep one of them.`,
      );
    }
    places.set(key, place);
    scores.set(key, score + 0);
  }
  return scores;
}

/** The rows of JSONL or of one JSON array. */
export function rowsOf(text: string, file: string): Row[] {
  if (text.trimStart().startsWith('[')) {
    const items = parsed(text, file, 'the array') as unknown[];
    return items.map((value, index) => ({ place: `item ${index + 1}`, value }));
  }
  return text.split('\n').flatMap((line, index) => {
    if (line.trim() === '') return [];
    const place = `line ${index + 1}`;
    return [{ place, value: parsed(line, file, place) }];
  });
}

function parsed(json: string, file: string, place: string): unknown {
  try {
    return parseRows(json);
  } catch (error) {
    const foreign = foreignValue(json);
    const message = foreign
      ? `${foreign.word}${place === 'the array' ? ` on line ${foreign.line + 1}` : ''} is no value of it`
      : messageOf(error).replace(/\s+/g, ' ');
    throw new SdaError('bad-file', `${file}, ${place}: not valid JSON (${message}); correct it.`, {
      cause: error,
    });
  }
}

function keyOf(kind: 'id' | 'query', text: string): string {
  return `${kind}:${text}`;
}

function excerpt(value: unknown): string {
  const json = JSON.stringify(value);
  return json.length > 120 ? `${json.slice(0, 120)} ...` : json;
}

/** A UTF-8 file. */
export async function textOf(file: string): Promise<string> {
  let bytes: Uint8Array;
  try {
    bytes = await readFile(file);
  } catch (error) {
    throw new SdaError(
      'file-missing',
      `The file ${file} cannot be read (${messageOf(error)}); check the path and its permissions.`,
      { cause: error },
    );
  }
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (error) {
    throw new SdaError('bad-file', `${file} is not UTF-8 text; save it as UTF-8.`, {
      cause: error,
    });
  }
}
