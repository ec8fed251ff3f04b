import { readFile, stat } from 'node:fs/promises';
import type { z } from 'zod';
import { type ErrorCode, messageOf, printable, SdaError } from '../errors.js';

/** Larger files of settings are refused; the tokenizers of today have up to 20 MB. */
const MAX_JSON_BYTES = 256 * 1024 * 1024;

/** Whether an error of node:fs says that there is no such file. */
export function isMissing(error: unknown): boolean {
  const code = (error as { code?: unknown } | null)?.code;
  return code === 'ENOENT' || code === 'ENOTDIR';
}

/**
 * The text of a UTF-8 file. One that a person names may be a pipe; a folder's own must be a regular file, as
 * a pipe waits for its writer and a device has no end.
 * @throws SdaError `file-missing` where it cannot be read, `code` where it is too large, not regular or not UTF-8.
 */
export async function readTextFile(
  file: string,
  code: ErrorCode,
  options: { readonly pipe?: boolean } = {},
): Promise<string> {
  const bytes = await readBytes(file, code, options);
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (error) {
    throw new SdaError(code, `${file} is not UTF-8 text; download it again.`, { cause: error });
  }
}

/** The bytes of a file; see {@link readTextFile}. */
async function readBytes(
  file: string,
  code: ErrorCode,
  options: { readonly pipe?: boolean },
): Promise<Uint8Array> {
  try {
    const info = await stat(file);
    const { size } = info;
    if (!info.isFile() && !info.isDirectory() && !(options.pipe && info.isFIFO())) {
      throw new SdaError(code, `${file} is not a regular file; put a copy of the file there.`);
    }
    if (size > MAX_JSON_BYTES) {
      throw new SdaError(
        code,
        `${file} has ${size} bytes where at most ${MAX_JSON_BYTES} are read; check that it is the right file.`,
      );
    }
    return await readFile(file);
  } catch (error) {
    if (error instanceof SdaError) throw error;
    throw new SdaError(
      'file-missing',
      isMissing(error)
        ? `${file} does not exist; check the folder, or download the checkpoint again.`
        : `${file} cannot be read (${messageOf(error)}); check its permissions.`,
      { cause: error },
    );
  }
}

/** Like {@link readTextFile}, but null where the file does not exist. */
export async function readTextFileIfPresent(file: string, code: ErrorCode): Promise<string | null> {
  return ifPresent(readTextFile(file, code));
}

/** The bytes of a folder's own file, null where it does not exist; see {@link readTextFile}. */
export async function readBytesIfPresent(
  file: string,
  code: ErrorCode,
): Promise<Uint8Array | null> {
  return ifPresent(readBytes(file, code, {}));
}

async function ifPresent<T>(content: Promise<T>): Promise<T | null> {
  try {
    return await content;
  } catch (error) {
    if (error instanceof SdaError && isMissing(error.cause)) return null;
    throw error;
  }
}

/**
 * JSON of a file's text, with duplicate keys refused (JSON.parse keeps the last one silently).
 * @throws SdaError `code`, naming the file.
 */
export function parseJson(text: string, file: string, code: ErrorCode): unknown {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new SdaError(
      code,
      `${file} is not valid JSON (${messageOf(error).replace(/\s+/g, ' ')}); download it again.`,
      {
        cause: error,
      },
    );
  }
  const { duplicate, tooDeep } = walk(text, MAX_DEPTH);
  if (tooDeep) {
    throw new SdaError(
      code,
      `${file} nests its values more than ${MAX_DEPTH} deep, which no checkpoint does; download it again.`,
    );
  }
  if (duplicate !== null) {
    throw new SdaError(
      code,
      `${file} has the key ${JSON.stringify(duplicate)} twice in one object, so its meaning is not defined; remove one of them.`,
    );
  }
  return value;
}

/** Deepest nesting that is read: what walks over the values recursively has a stack to keep. */
const MAX_DEPTH = 200;

/** The first key that stands twice in one object of a text that JSON.parse accepts, or null. */
export function findDuplicateKey(json: string): string | null {
  return walk(json, Number.POSITIVE_INFINITY).duplicate;
}

/** One pass over the brackets and keys of a text that JSON.parse accepts; it ends where the text nests deeper than `maxDepth`. */
function walk(json: string, maxDepth: number): { duplicate: string | null; tooDeep: boolean } {
  let duplicate: string | null = null;
  const scopes: (Set<string> | null)[] = []; // one per open bracket: the keys of an object, null for an array
  let expectKey = false;
  for (let at = 0; at < json.length; at++) {
    switch (json.charCodeAt(at)) {
      case 0x7b: // {
        scopes.push(new Set());
        expectKey = true;
        if (scopes.length > maxDepth) return { duplicate, tooDeep: true };
        break;
      case 0x5b: // [
        scopes.push(null);
        expectKey = false;
        if (scopes.length > maxDepth) return { duplicate, tooDeep: true };
        break;
      case 0x7d: // }
      case 0x5d: // ]
        scopes.pop();
        expectKey = false;
        break;
      case 0x2c: // ,
        expectKey = scopes.at(-1) instanceof Set;
        break;
      case 0x22: {
        const end = endOfString(json, at);
        const keys = scopes.at(-1);
        if (expectKey && keys) {
          const key = JSON.parse(json.slice(at, end + 1)) as string;
          if (keys.has(key)) duplicate ??= key;
          keys.add(key);
          expectKey = false;
        }
        at = end;
        break;
      }
    }
  }
  return { duplicate, tooDeep: false };
}

/** Index of the quote that closes the JSON string whose opening quote stands at `open`. */
function endOfString(json: string, open: number): number {
  let end = json.indexOf('"', open + 1);
  while (end !== -1) {
    let backslashes = 0;
    while (json.charCodeAt(end - 1 - backslashes) === 0x5c) backslashes++;
    if (backslashes % 2 === 0) return end;
    end = json.indexOf('"', end + 1);
  }
  return json.length;
}

/** What a zod error says, in one clause: the first issues, each with the path of its key. */
export function describeIssues(error: z.ZodError, limit = 3): string {
  const clauses = error.issues.slice(0, limit).map((issue) => {
    const path = issue.path.map((key) => String(key).slice(0, 100)).join('.');
    const what = issue.message
      .replace(/^Invalid input: expected .*, received undefined$/, 'is missing')
      .replace(/^Invalid input: (expected .*), received (.*)$/, '$1, found $2');
    return path === '' ? what : `${path}: ${what}`;
  });
  const rest = error.issues.length - clauses.length;
  return clauses.join('; ') + (rest > 0 ? `; and ${rest} more` : '');
}

/** At most `limit` of a list's items, and how many were left off. */
export function listSome(items: readonly string[], limit = 5): string {
  const rest = items.length - limit;
  return printable(items.slice(0, limit).join(', ')) + (rest > 0 ? ` and ${rest} more` : '');
}
