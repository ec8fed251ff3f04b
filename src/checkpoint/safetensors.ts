import { readSync } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import safetensors from 'safetensors';
import { z } from 'zod';
import { messageOf, SdaError } from '../errors.js';
import { isTensorDtype, tensorByteLength } from './dtype.js';
import { describeIssues, parseJson } from './json-file.js';
import { openFile } from './open-file.js';

/** The format's limit on the JSON header, in bytes. */
export const MAX_HEADER_BYTES = 100_000_000;

/** Bytes of the little-endian u64 that holds the header's length. */
const LENGTH_BYTES = 8;

/** One tensor of a file, validated: where its bytes are and what they mean. */
export interface TensorInfo {
  readonly name: string;
  /** As the file names it; one that the format does not know is refused when the tensor is read. */
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly file: string;
  /** Of the first byte, absolute in the file; any alignment. */
  readonly offset: number;
  readonly byteLength: number;
}

/** A safetensors file's header, validated in full against the file's size. */
export interface SafetensorsHeader {
  readonly file: string;
  readonly fileSize: number;
  /** In the order of the data. */
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  /** The `__metadata__` entry, empty where there is none. */
  readonly metadata: ReadonlyMap<string, string>;
}

const naturalNumber = z.number().int().nonnegative();
const tensorSchema = z.object({
  dtype: z.string().regex(/^\w{1,32}$/),
  shape: z.array(naturalNumber),
  data_offsets: z.tuple([naturalNumber, naturalNumber]),
});
const headerSchema = z.custom<Record<string, unknown>>(
  (value) => typeof value === 'object' && value !== null && !Array.isArray(value),
);

/**
 * Reads the 8 + N header bytes of a safetensors file, and nothing else, and checks all of it: the
 * length against the file, duplicate keys, every dtype, shape and offset pair, overlaps, gaps,
 * truncation and trailing bytes.
 * Source: the format's description at https://github.com/huggingface/safetensors.
 * @throws SdaError `file-missing`, or `bad-file` that names the file and the tensor.
 */
export async function readHeader(file: string): Promise<SafetensorsHeader> {
  const handle = await openFile(file, 'a safetensors file');
  try {
    const { size } = await handle.stat();
    return parseHeader(file, size, await readHeaderBytes(handle, file, size));
  } finally {
    await handle.close();
  }
}

async function readHeaderBytes(
  handle: FileHandle,
  file: string,
  fileSize: number,
): Promise<Uint8Array> {
  const prefix = new Uint8Array(LENGTH_BYTES);
  if (fileSize < LENGTH_BYTES) {
    throw badFile(
      file,
      `has ${fileSize} bytes where a safetensors file has at least ${LENGTH_BYTES}; download it again`,
    );
  }
  await readFully(handle, prefix, 0, file);
  if (new TextDecoder().decode(prefix) === 'version ') {
    throw badFile(
      file,
      'is a Git LFS pointer and not the weights; run `git lfs pull` in its folder',
    );
  }
  const length = new DataView(prefix.buffer).getBigUint64(0, true);
  if (length > BigInt(MAX_HEADER_BYTES)) {
    throw badFile(
      file,
      `gives a header of ${length} bytes where at most ${MAX_HEADER_BYTES} are allowed; it is damaged or not a safetensors file`,
    );
  }
  if (length > BigInt(fileSize - LENGTH_BYTES)) {
    throw badFile(
      file,
      `gives a header of ${length} bytes where ${fileSize - LENGTH_BYTES} follow; it is truncated, download it again`,
    );
  }
  const bytes = new Uint8Array(LENGTH_BYTES + Number(length));
  await readFully(handle, bytes, 0, file);
  return bytes;
}

/** Validates the 8 + N header bytes of a file of `fileSize` bytes; see {@link readHeader}. */
export function parseHeader(file: string, fileSize: number, bytes: Uint8Array): SafetensorsHeader {
  const json = parseHeaderJson(file, bytes);
  const metadata = parseMetadata(file, json);
  const dataBytes = fileSize - bytes.length;
  const tensors = readEntries(json, bytes.length)
    .map(([name, entry]) => checkEntry(file, name, entry, bytes.length, dataBytes))
    .sort((a, b) => a.offset - b.offset || a.byteLength - b.byteLength);
  checkCoverage(file, fileSize, bytes.length, tensors);
  return {
    file,
    fileSize,
    metadata,
    tensors: new Map(tensors.map((tensor) => [tensor.name, tensor])),
  };
}

function parseHeaderJson(file: string, bytes: Uint8Array): Record<string, unknown> {
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(
      bytes.subarray(LENGTH_BYTES),
    );
  } catch (error) {
    throw badFile(file, 'has a header that is not UTF-8; download it again', error);
  }
  if (!text.startsWith('{')) {
    throw badFile(file, 'has a header that does not start with "{"; it is not a safetensors file');
  }
  return headerSchema.parse(parseJson(text, `The header of ${file}`, 'bad-file'));
}

function parseMetadata(
  file: string,
  json: Readonly<Record<string, unknown>>,
): ReadonlyMap<string, string> {
  if (!Object.hasOwn(json, '__metadata__')) return new Map();
  const metadata = headerSchema.safeParse(json.__metadata__);
  const entries = metadata.success ? Object.entries(metadata.data) : null;
  const odd = entries?.find(([, value]) => typeof value !== 'string');
  if (!entries || odd) {
    const what = odd ? `, ${JSON.stringify(odd[0])} is none` : '';
    throw badFile(
      file,
      `has a __metadata__ entry that is not a map of strings${what}; write the file again`,
    );
  }
  return new Map(entries as [string, string][]);
}

type Entry = z.infer<typeof tensorSchema> | z.ZodError;

/**
 * The header's tensor entries with offsets made absolute by the `safetensors` package. It gets a
 * fresh buffer of header bytes without `__metadata__` and without malformed entries, on both of
 * which it throws a TypeError; a malformed entry comes back as its zod error.
 */
function readEntries(
  json: Readonly<Record<string, unknown>>,
  headerBytes: number,
): [string, Entry][] {
  const wellFormed: [string, unknown][] = [];
  const malformed: [string, Entry][] = [];
  for (const [name, value] of Object.entries(json)) {
    if (name === '__metadata__') continue;
    const parsed = tensorSchema.safeParse(value);
    if (parsed.success) wellFormed.push([name, parsed.data]);
    else malformed.push([name, parsed.error]);
  }
  const body = new TextEncoder().encode(JSON.stringify(Object.fromEntries(wellFormed)));
  const fresh = new Uint8Array(LENGTH_BYTES + body.length);
  new DataView(fresh.buffer).setBigUint64(0, BigInt(body.length), true);
  fresh.set(body, LENGTH_BYTES);
  const shift = headerBytes - fresh.length;
  const { metadata } = new safetensors.SafeTensor(fresh);
  const entries = [...metadata].map(([name, entry]): [string, Entry] => {
    const offsets = entry.data_offsets.map((offset) => offset + shift);
    return [name, tensorSchema.parse({ ...entry, data_offsets: offsets })];
  });
  return [...malformed, ...entries];
}

function checkEntry(
  file: string,
  name: string,
  entry: Entry,
  dataStart: number,
  dataBytes: number,
): TensorInfo {
  const label = `the tensor ${JSON.stringify(name)}`;
  if (entry instanceof z.ZodError) {
    throw badFile(
      file,
      `describes ${label} wrongly (${describeIssues(entry)}); write the file again`,
    );
  }
  const [begin, end] = entry.data_offsets;
  const offsets = `[${begin - dataStart}, ${end - dataStart}]`;
  if (begin > end) {
    throw badFile(file, `gives ${label} the reversed offsets ${offsets}; write the file again`);
  }
  if (end > dataStart + dataBytes) {
    throw badFile(
      file,
      `gives ${label} the offsets ${offsets} where only ${dataBytes} bytes of data follow the header; it is truncated, download it again`,
    );
  }
  if (isTensorDtype(entry.dtype)) {
    const expected = tensorByteLength(entry.dtype, entry.shape);
    if (expected !== end - begin) {
      throw badFile(
        file,
        `gives ${label} ${end - begin} bytes where dtype ${entry.dtype} and shape [${entry.shape.join(', ')}] need ${expected ?? 'an impossible number'}; write the file again`,
      );
    }
  }
  const { dtype, shape } = entry;
  return { name, dtype, shape, file, offset: begin, byteLength: end - begin };
}

/** The tensors, in the order of the data, must cover it exactly. */
function checkCoverage(
  file: string,
  fileSize: number,
  dataStart: number,
  tensors: readonly TensorInfo[],
): void {
  let covered = dataStart;
  let previous = 'the header';
  for (const { name, offset, byteLength } of tensors) {
    const label = `the tensor ${JSON.stringify(name)}`;
    if (offset < covered) {
      throw badFile(
        file,
        `lets ${label} overlap ${previous} by ${covered - offset} bytes; write the file again`,
      );
    }
    if (offset > covered) {
      throw badFile(
        file,
        `has ${offset - covered} bytes between ${previous} and ${label} that no tensor covers; write the file again`,
      );
    }
    covered += byteLength;
    previous = label;
  }
  if (covered < fileSize) {
    throw badFile(
      file,
      `has ${fileSize - covered} trailing bytes that no tensor covers; it is damaged, download it again`,
    );
  }
}

/** Bytes of one read call: small enough to share a tensor among the readers, far below the system's 2 GiB. */
const CHUNK_BYTES = 8 * 1024 * 1024;

/** Reads in flight at a time; fresh memory costs as much time as the copy, and two cores share it. */
const READERS = 2;

/** Up to this size a synchronous read takes less time than the way to a worker thread and back. */
const SYNC_BYTES = 4 * 1024 * 1024;

/**
 * Fills `into` from the file at `position`, in chunks.
 * @throws SdaError `bad-file` where the file ends before that.
 */
export async function readFully(
  handle: FileHandle,
  into: Uint8Array,
  position: number,
  file: string,
): Promise<void> {
  let next = 0;
  const reader = async () => {
    while (next < into.length) {
      const start = next;
      next = Math.min(start + CHUNK_BYTES, into.length);
      await readChunk(handle, into.subarray(start, next), position + start, file);
    }
  };
  const readers = into.length <= SYNC_BYTES ? 1 : READERS;
  await Promise.all(Array.from({ length: readers }, reader));
}

async function readChunk(
  handle: FileHandle,
  into: Uint8Array,
  position: number,
  file: string,
): Promise<void> {
  let done = 0;
  while (done < into.length) {
    const wanted = into.length - done;
    let bytesRead: number;
    try {
      bytesRead =
        wanted <= SYNC_BYTES
          ? readSync(handle.fd, into, done, wanted, position + done)
          : (await handle.read(into, done, wanted, position + done)).bytesRead;
    } catch (error) {
      throw badFile(
        file,
        `cannot be read at byte ${position + done} (${messageOf(error)}); check the disk`,
        error,
      );
    }
    if (bytesRead === 0) {
      throw badFile(
        file,
        `ends at byte ${position + done} where ${wanted} more were expected; it changed while it was read or is truncated, download it again`,
      );
    }
    done += bytesRead;
  }
}

function badFile(file: string, what: string, cause?: unknown): SdaError {
  return new SdaError('bad-file', `${file} ${what}.`, { cause });
}
