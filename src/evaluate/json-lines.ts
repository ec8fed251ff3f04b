import { existsSync, readFileSync } from 'node:fs';
import type { z } from 'zod';
import { describeIssues } from '../checkpoint/json-file.js';
import { messageOf, SdaError } from '../errors.js';

/** What a file of JSON lines holds that a process appends to, and may have been ended while it wrote. */
export interface JsonLines {
  readonly lines: readonly JsonLine[];
  /** Bytes of whole lines: what is behind them is half a line */
  readonly length: number;
  /** How it ends: with a line end, with a whole value that lacks it, or with half a line, which is left out */
  readonly end: 'whole' | 'unterminated' | 'half';
}

export interface JsonLine {
  /** 1, 2, ... */
  readonly number: number;
  readonly value: unknown;
}

/**
 * Reads a file of JSON lines; one that does not exist is empty.
 *
 * @param advice what to do about a line that cannot be used
 * @throws SdaError `bad-file` naming a line before the last that is no JSON, and where the file cannot be read
 */
export function readJsonLines(file: string, advice: string): JsonLines {
  const bytes = bytesOf(file);
  const lines: JsonLine[] = [];
  let start = 0;
  for (let number = 1; start < bytes.length; number++) {
    const newline = bytes.indexOf(10, start);
    const last = newline < 0;
    const text = bytes.toString('utf8', start, last ? bytes.length : newline);
    try {
      lines.push({ number, value: JSON.parse(text) as unknown });
    } catch (error) {
      if (last) return { lines, length: start, end: 'half' };
      throw badLine(file, number, `it is no JSON (${messageOf(error)})`, advice);
    }
    if (last) return { lines, length: bytes.length, end: 'unterminated' };
    start = newline + 1;
  }
  return { lines, length: start, end: 'whole' };
}

function bytesOf(file: string): Buffer {
  if (!existsSync(file)) return Buffer.alloc(0);
  try {
    return readFileSync(file);
  } catch (error) {
    throw new SdaError(
      'bad-file',
      `The file ${file} cannot be read (${messageOf(error)}): check its permissions.`,
      { cause: error },
    );
  }
}

/** @throws SdaError `bad-file` naming the first line that `schema` does not take */
export function checkedLines<T>(
  { lines }: JsonLines,
  schema: z.ZodType<T>,
  file: string,
  advice: string,
): T[] {
  return lines.map(({ number, value }) => {
    const parsed = schema.safeParse(value);
    if (parsed.success) return parsed.data;
    throw badLine(file, number, describeIssues(parsed.error), advice);
  });
}

export function badLine(file: string, number: number, why: string, advice: string): SdaError {
  return new SdaError('bad-file', `Line ${number} of ${file} cannot be used: ${why}; ${advice}.`);
}
