import type { FileHandle } from 'node:fs/promises';
import { readFully } from '../../checkpoint/safetensors.js';
import { SdaError } from '../../errors.js';

/** A value of GGUF's metadata; whole numbers of 64 bits that JavaScript's numbers cannot hold are bigints. */
export type MetadataValue = number | bigint | boolean | string | readonly MetadataValue[];

/** A tensor as the header describes it, unchecked. */
export interface GgufTensor {
  readonly name: string;
  /** As HF has it: the fastest axis last */
  readonly shape: readonly number[];
  /** The number of its type */
  readonly type: number;
  /** Of its first byte after the beginning of the data */
  readonly offset: number;
}

export interface GgufHeader {
  readonly metadata: ReadonlyMap<string, MetadataValue>;
  readonly tensors: readonly GgufTensor[];
  /** Where the data begin, absolute in the file */
  readonly dataStart: number;
}

/** Vocabularies and merges of today take up to 20 MB. */
const MOST_HEADER_BYTES = 256 * 2 ** 20;
const MOST_AXES = 4;
const MOST_DEPTH = 4;
/** Of a list: vocabularies and merges of today have up to 500,000. */
const MOST_VALUES = 4_000_000;
const DEFAULT_ALIGNMENT = 32;

/**
 * Reads the header of a little-endian GGUF file of version 2 or 3, and no data. Every count and length is held
 * against the bytes that follow before anything is made of it.
 * Source: ggml's docs/gguf.md. (`@huggingface/gguf` reads zeros beyond the end of a file, and cuts a text that lies
 * across two of the pieces it reads.)
 * @throws SdaError `bad-file`, `unsupported` for another version or byte order.
 */
export async function readGgufHeader(handle: FileHandle, file: string): Promise<GgufHeader> {
  const { size } = await handle.stat();
  const reader = new Reader(handle, size, file);
  await reader.more(24);
  if (reader.magic() !== 'GGUF')
    throw badFile(file, 'does not begin with "GGUF"; give a GGUF file');
  const version = reader.uint32();
  if (version !== 2 && version !== 3) {
    const found = (version & 0xffff) === 0 ? 'of big-endian numbers' : `of version ${version}`;
    throw new SdaError(
      'unsupported',
      `${file} is a GGUF file ${found} where little-endian ones of version 2 and 3 are read; convert the model again.`,
    );
  }
  const tensorCount = reader.count(MIN_TENSOR_BYTES, 'tensors');
  const keyCount = reader.count(MIN_KEY_BYTES, 'keys');
  await reader.more(Math.min(size, MOST_HEADER_BYTES), 1);
  const metadata = new Map<string, MetadataValue>();
  for (let i = 0; i < keyCount; i++) {
    const key = await reader.whole(() => reader.entry());
    if (metadata.has(key.name))
      throw badFile(file, `has the key ${JSON.stringify(key.name)} twice`);
    metadata.set(key.name, key.value);
  }
  const tensors: GgufTensor[] = [];
  for (let i = 0; i < tensorCount; i++) tensors.push(await reader.whole(() => reader.tensor()));
  const alignment = metadata.get('general.alignment') ?? DEFAULT_ALIGNMENT;
  if (typeof alignment !== 'number' || !(alignment >= 1 && alignment <= 2 ** 20)) {
    throw badFile(file, `has the alignment ${String(alignment)} where a small number is needed`);
  }
  return { metadata, tensors, dataStart: Math.ceil(reader.at / alignment) * alignment };
}

/** The least bytes of a key with its value, and of a tensor's description. */
const MIN_KEY_BYTES = 13;
const MIN_TENSOR_BYTES = 24;

/** Thrown where the bytes that have been read end; more are then read. */
class Short extends Error {}

const FIRST_BYTES = 2 ** 20;

class Reader {
  at = 0;
  private bytes = new Uint8Array(0);
  private view = new DataView(this.bytes.buffer);

  constructor(
    private readonly handle: FileHandle,
    private readonly size: number,
    private readonly file: string,
  ) {}

  /** Reads on until `least` bytes from the file's beginning are there; at most a header's length. */
  async more(wanted: number, least = wanted): Promise<void> {
    const end = Math.min(this.size, wanted, Math.max(FIRST_BYTES, 2 * this.bytes.length));
    if (Math.min(end, this.size) < least) throw this.truncated();
    if (end <= this.bytes.length) return;
    const bytes = new Uint8Array(end);
    await readFully(this.handle, bytes, 0, this.file);
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer);
  }

  /** What `read` reads, once enough bytes are there for all of it. */
  async whole<T>(read: () => T): Promise<T> {
    for (;;) {
      const start = this.at;
      try {
        return read();
      } catch (error) {
        if (!(error instanceof Short)) throw error;
        this.at = start;
        const before = this.bytes.length;
        await this.more(MOST_HEADER_BYTES, 0);
        if (this.bytes.length === before) throw this.truncated();
      }
    }
  }

  private truncated(): SdaError {
    return badFile(
      this.file,
      `ends, or has more than ${MOST_HEADER_BYTES} bytes, in the middle of its header`,
    );
  }

  private take(length: number): number {
    if (length > this.size - this.at) throw this.truncated();
    if (length > this.bytes.length - this.at) throw new Short();
    this.at += length;
    return this.at - length;
  }

  magic(): string {
    return new TextDecoder().decode(this.bytes.subarray(this.take(4), this.at));
  }

  uint32(): number {
    return this.view.getUint32(this.take(4), true);
  }

  private uint64(): number | bigint {
    const value = this.view.getBigUint64(this.take(8), true);
    return value <= Number.MAX_SAFE_INTEGER ? Number(value) : value;
  }

  /** How many things of at least so many bytes follow. */
  count(bytesEach: number, what: string): number {
    const count = this.uint64();
    const left = this.size - this.at;
    if (typeof count === 'bigint' || count * bytesEach > left) {
      throw badFile(
        this.file,
        `names ${count} ${what} where ${left} bytes follow; it is truncated`,
      );
    }
    return count;
  }

  private text(): string {
    const length = this.count(1, 'bytes of a text');
    const start = this.take(length);
    return new TextDecoder().decode(this.bytes.subarray(start, start + length));
  }

  entry(): { name: string; value: MetadataValue } {
    const name = this.text();
    return { name, value: this.value(this.uint32(), 0) };
  }

  private value(type: number, depth: number): MetadataValue {
    const { view } = this;
    switch (type) {
      case 0:
        return view.getUint8(this.take(1));
      case 1:
        return view.getInt8(this.take(1));
      case 2:
        return view.getUint16(this.take(2), true);
      case 3:
        return view.getInt16(this.take(2), true);
      case 4:
        return this.uint32();
      case 5:
        return view.getInt32(this.take(4), true);
      case 6:
        return view.getFloat32(this.take(4), true);
      case 7:
        return view.getUint8(this.take(1)) !== 0;
      case 8:
        return this.text();
      case 9:
        return this.list(depth);
      case 10:
        return this.uint64();
      case 11:
        return Number(view.getBigInt64(this.take(8), true));
      case 12:
        return view.getFloat64(this.take(8), true);
      default:
        throw badFile(this.file, `holds a value of the unknown type ${type}`);
    }
  }

  private list(depth: number): MetadataValue[] {
    if (depth === MOST_DEPTH) throw badFile(this.file, `nests lists more than ${MOST_DEPTH} deep`);
    const type = this.uint32();
    const length = this.count(VALUE_BYTES[type] ?? 8, 'values');
    if (length > MOST_VALUES) throw badFile(this.file, `has a list of ${length} values`);
    return Array.from({ length }, () => this.value(type, depth + 1));
  }

  tensor(): GgufTensor {
    const name = this.text();
    const axes = this.uint32();
    if (axes > MOST_AXES) {
      throw badFile(this.file, `gives the tensor ${JSON.stringify(name)} ${axes} axes`);
    }
    const shape = Array.from({ length: axes }, () => Number(this.uint64())).reverse();
    return { name, shape, type: this.uint32(), offset: Number(this.uint64()) };
  }
}

/** The least bytes of a value of each type. */
const VALUE_BYTES = [1, 1, 2, 2, 4, 4, 4, 1, 8, 12, 8, 8, 8];

function badFile(file: string, what: string): SdaError {
  return new SdaError('bad-file', `${file} ${what}; it is damaged, download it again.`);
}
