import { readTextFile } from '../../checkpoint/json-file.js';
import { messageOf, SdaError } from '../../errors.js';
import { foreignValue, parseRows } from '../../evaluate/json-rows.js';

/** A row of a file. */
export interface Found {
  /** Where it stands, such as "line 3" */
  readonly place: string;
  /** 1, 2, ... in the file */
  readonly number: number;
  readonly value: Readonly<Record<string, unknown>>;
}

/**
 * The objects of a file: JSONL with one a line, a JSON array of them, or a JSON object of which one field is such an
 * array.
 *
 * @throws SdaError `file-missing`, `bad-file`
 */
export async function readObjects(file: string): Promise<Found[]> {
  const text = (await textOf(file)).replace(/^\uFEFF/, '');
  const rows = rowsOf(text, file);
  if (rows.length === 0) {
    throw new SdaError('bad-file', `${file} holds no row: give a file with one query a line.`);
  }
  return rows.map(({ place, value }, index) => {
    if (!isObject(value)) {
      const found = JSON.stringify(value)?.slice(0, 60);
      throw new SdaError('bad-file', `${file}, ${place}: expected an object, found ${found}.`);
    }
    return { place, number: index + 1, value };
  });
}

async function textOf(file: string): Promise<string> {
  try {
    return await readTextFile(file, 'bad-file', { pipe: true });
  } catch (error) {
    if (!(error instanceof SdaError) || error.code !== 'file-missing') throw error;
    throw new SdaError(
      'file-missing',
      `The data set ${file} cannot be read (${messageOf(error.cause)}): give the path of a JSONL or JSON file; paths are relative to the working directory.`,
      { cause: error },
    );
  }
}

function rowsOf(text: string, file: string): { place: string; value: unknown }[] {
  const whole = parse(text);
  if (whole.ok && Array.isArray(whole.value)) return numbered(whole.value);
  if (whole.ok && isObject(whole.value)) {
    const arrays = Object.values(whole.value).filter(
      (part) => Array.isArray(part) && part.length > 0 && part.every(isObject),
    );
    if (arrays.length === 1) return numbered(arrays[0] as unknown[]);
    return [{ place: 'line 1', value: whole.value }];
  }
  const lines = text.split('\n').map((line) => line.trim());
  return lines.flatMap((line, index) => {
    if (line === '') return [];
    const place = `line ${index + 1}`;
    const parsed = parse(line);
    if (parsed.ok) return [{ place, value: parsed.value }];
    const severalLines = line.startsWith('[') || line === '{';
    const foreign = foreignValue(severalLines ? lines.slice(index).join('\n') : line);
    if (foreign) {
      throw new SdaError(
        'bad-file',
        `${file}, line ${index + foreign.line + 1}: found ${foreign.word}, which is no value of JSON; write null there, or leave the field out.`,
      );
    }
    throw new SdaError(
      'bad-file',
      `${file}, ${place}: expected a JSON object, found ${JSON.stringify(line.slice(0, 60))}; the file must be JSONL, or one JSON array.`,
    );
  });
}

function numbered(values: readonly unknown[]): { place: string; value: unknown }[] {
  return values.map((value, index) => ({ place: `item ${index + 1}`, value }));
}

function parse(text: string): { ok: true; value: unknown } | { ok: false } {
  try {
    return { ok: true, value: parseRows(text) };
  } catch {
    return { ok: false };
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
