import { closeSync, existsSync, fsyncSync, ftruncateSync, openSync, readFileSync } from 'node:fs';
import { z } from 'zod';
import { messageOf, SdaError } from '../../errors.js';
import { ROW_SCHEMA, type Row, type RowFailure } from '../rows.js';
import { replaceFile, writeAll, writing } from './files.js';

const failureSchema = z.looseObject({
  kind: z.string() as unknown as z.ZodType<RowFailure['kind']>,
  reason: z.string(),
});

const rowSchema = <T>(value: z.ZodType<T>) =>
  z.discriminatedUnion('status', [
    z.looseObject({
      schema: z.literal(ROW_SCHEMA),
      item: z.string(),
      status: z.literal('done'),
      value,
    }),
    z.looseObject({
      schema: z.literal(ROW_SCHEMA),
      item: z.string(),
      status: z.literal('failed'),
      failure: failureSchema,
    }),
  ]);

/** What a file of rows holds, and where its last whole line ends. */
interface ReadRows<T> {
  /** The newest of each item */
  readonly rows: Map<string, Row<T>>;
  /** Bytes of whole rows */
  readonly length: number;
  /** The last whole row has no line end yet */
  readonly unterminated: boolean;
}

/**
 * Reads rows back. A last line that was half written is left out; the last row of an item counts.
 *
 * @throws SdaError `bad-file` naming file and line: no JSON, another schema, a second finished row of one item
 */
export function readRows<T>(file: string, schema: z.ZodType<T>): ReadRows<T> {
  const bytes = existsSync(file) ? readFileSync(file) : Buffer.alloc(0);
  const check = rowSchema(schema);
  const rows = new Map<string, Row<T>>();
  const finished = new Map<string, number>();
  let start = 0;
  for (let number = 1; start < bytes.length; number++) {
    const newline = bytes.indexOf(10, start);
    const last = newline < 0;
    const text = bytes.toString('utf8', start, last ? bytes.length : newline);
    let value: unknown;
    try {
      value = JSON.parse(text);
    } catch (error) {
      if (last) return { rows, length: start, unterminated: false };
      throw broken(file, number, `it is no JSON (${messageOf(error)})`);
    }
    const parsed = check.safeParse(value);
    if (!parsed.success) throw broken(file, number, reasonOf(value, parsed.error));
    const row = parsed.data as Row<T>;
    if (row.status === 'done') {
      const first = finished.get(row.item);
      if (first !== undefined) {
        throw broken(file, number, `the item "${row.item}" is finished on line ${first} already`);
      }
      finished.set(row.item, number);
    }
    rows.set(row.item, row);
    start = last ? bytes.length : newline + 1;
    if (last) return { rows, length: start, unterminated: true };
  }
  return { rows, length: start, unterminated: false };
}

function reasonOf(value: unknown, error: z.ZodError): string {
  const schema = (value as { schema?: unknown } | null)?.schema;
  if (schema !== ROW_SCHEMA && typeof schema === 'number') {
    return `it was written in version ${schema} of the rows, but this is version ${ROW_SCHEMA}`;
  }
  const { path, message } = error.issues[0]!;
  return `${path.join('.') || 'the row'}: ${message}`;
}

function broken(file: string, line: number, why: string): SdaError {
  return new SdaError(
    'bad-file',
    `Line ${line} of ${file} cannot be used: ${why}; mend or delete that line, or begin the run anew in another folder.`,
  );
}

/**
 * The rows of one stage. A row is written by one call, so that the end of the process loses at most the row being
 * written; they are brought to the disk when the file is sealed or closed, so that a loss of power may cost some, which
 * are then made again.
 */
export class StageFile<T> {
  private readonly byItem: Map<string, Row<T>>;
  private handle: number;

  /** Opens the file and cuts off a half-written last line. */
  constructor(
    readonly file: string,
    schema: z.ZodType<T>,
  ) {
    const { rows, length, unterminated } = readRows(file, schema);
    this.byItem = rows;
    this.handle = writing(file, () => {
      const handle = openSync(file, 'a');
      ftruncateSync(handle, length);
      if (unterminated) writeAll(handle, '\n');
      return handle;
    });
  }

  /** The newest row of each item. */
  rows(): ReadonlyMap<string, Row<T>> {
    return this.byItem;
  }

  /** @throws SdaError `bad-input` where the file cannot be written, or an item is finished already */
  append(row: Row<T>): void {
    if (this.byItem.get(row.item)?.status === 'done') {
      throw new SdaError('bad-input', `${this.file}: the item "${row.item}" is finished already.`);
    }
    writing(this.file, () => writeAll(this.handle, `${JSON.stringify(row)}\n`));
    this.byItem.set(row.item, row);
  }

  /**
   * Puts the file in the order of `items`, with one row each: a finished run has the same bytes however often it was
   * interrupted.
   */
  seal(items: readonly string[]): void {
    const ordered = items.flatMap((item) => this.byItem.get(item) ?? []);
    const text = ordered.map((row) => `${JSON.stringify(row)}\n`).join('');
    if (existsSync(this.file) && readFileSync(this.file, 'utf8') === text) return;
    closeSync(this.handle);
    replaceFile(this.file, text);
    this.handle = writing(this.file, () => openSync(this.file, 'a'));
  }

  close(): void {
    writing(this.file, () => fsyncSync(this.handle));
    closeSync(this.handle);
  }
}
