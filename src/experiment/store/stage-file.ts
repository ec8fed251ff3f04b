import {
  appendFileSync,
  closeSync,
  existsSync,
  fsyncSync,
  ftruncateSync,
  openSync,
  readFileSync,
} from 'node:fs';
import { z } from 'zod';
import { messageOf, SdaError } from '../../errors.js';
import { ROW_SCHEMA, type Row, type RowFailure } from '../rows.js';
import { replaceFile, writing } from './files.js';

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

/** What to do where a row cannot be written. */
const RESUME =
  'its finished rows are kept; make space, or mend what is wrong, and start the run again';

/**
 * The rows of one stage. A row is written by one call, so that the end of the process loses at most the row being
 * written; they are brought to the disk when the file is sealed or closed, so that a loss of power may cost some, which
 * are then made again. After a write that failed the file takes nothing more: a half-written row stays its last line,
 * which is cut off when the file is opened again.
 */
export class StageFile<T> {
  private readonly byItem: Map<string, Row<T>>;
  /** The open descriptor; null once it is closed, and never used again. */
  private handle: number | null;
  /** Why the file takes nothing more. */
  private failure: unknown;

  /** Opens the file and cuts off a half-written last line. */
  constructor(
    readonly file: string,
    schema: z.ZodType<T>,
  ) {
    const { rows, length, unterminated } = readRows(file, schema);
    this.byItem = rows;
    this.handle = this.open();
    this.write((handle) => {
      ftruncateSync(handle, length);
      if (unterminated) appendFileSync(handle, '\n');
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
    this.write((handle) => appendFileSync(handle, `${JSON.stringify(row)}\n`));
    this.byItem.set(row.item, row);
  }

  /**
   * Puts the file in the order of `items`, with one row each: a finished run has the same bytes however often it was
   * interrupted.
   *
   * @throws SdaError `bad-input` where it cannot be written: it is as it was then
   */
  seal(items: readonly string[]): void {
    const ordered = items.flatMap((item) => this.byItem.get(item) ?? []);
    const text = ordered.map((row) => `${JSON.stringify(row)}\n`).join('');
    if (existsSync(this.file) && readFileSync(this.file, 'utf8') === text) return;
    replaceFile(this.file, text, RESUME);
    this.release(); // of the file that was replaced
    this.handle = this.open();
  }

  /** @throws SdaError `bad-input` where the rows cannot be brought to the disk; it is closed then, too */
  close(): void {
    if (this.handle === null) return;
    this.write(fsyncSync);
    this.release();
  }

  private open(): number {
    return writing(this.file, () => openSync(this.file, 'a'), RESUME);
  }

  /** Works on the open file; a failure closes it. */
  private write(work: (handle: number) => void): void {
    writing(
      this.file,
      () => {
        if (this.handle === null) throw this.failure ?? new Error('it is closed');
        try {
          work(this.handle);
        } catch (error) {
          this.failure = error;
          this.release();
          throw error;
        }
      },
      RESUME,
    );
  }

  private release(): void {
    const { handle } = this;
    this.handle = null;
    if (handle === null) return;
    try {
      closeSync(handle);
    } catch {} // the rows were brought to the disk before, or a failure has been told
  }
}
