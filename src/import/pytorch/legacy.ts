import type { FileHandle } from 'node:fs/promises';
import { DTYPE_BITS } from '../../checkpoint/dtype.js';
import { readFully } from '../../checkpoint/safetensors.js';
import { SdaError } from '../../errors.js';
import type { StoragePlaces } from './file.js';
import { readPickle } from './pickle.js';
import { PickleList, type PickleValue } from './pickle-values.js';
import { type Storage, TensorHandlers } from './tensors.js';

/** What such a file begins with, as a pickle. */
const MAGIC = 0x1950a86a20f9469cfc6cn;

/** Bytes of the count before a storage's elements. */
const COUNT_BYTES = 8;

/**
 * A file of torch before 1.6: pickles of a magic number, a version, facts of the machine, the state_dict and the
 * storages' keys, then each storage as its length and its elements.
 * @param most bytes that the pickles may have together
 * @throws SdaError `bad-file` where it is not such a file either.
 */
export async function readLegacy(
  handle: FileHandle,
  file: string,
  most: number,
): Promise<{ value: PickleValue; places: StoragePlaces; bigEndian: boolean }> {
  const { size } = await handle.stat();
  const bytes = new Uint8Array(Math.min(size, most));
  if (!(await beginsWithPickle(handle, file, size))) throw noCheckpoint(file);
  await readFully(handle, bytes, 0, file);
  const handlers = new Recorder(file);
  let at = 0;
  const next = () => {
    const { value, length } = readPickle(bytes.subarray(at), handlers, file);
    at += length;
    return value;
  };
  if (next() !== MAGIC) throw noCheckpoint(file);
  next();
  next();
  const value = next();
  const keys = next();
  if (!(keys instanceof PickleList)) throw noCheckpoint(file);
  const places = new Map<string, { offset: number; size: number }>();
  for (const key of keys.items) {
    const width = typeof key === 'string' ? handlers.widths.get(key) : undefined;
    if (width === undefined) throw noCheckpoint(file);
    const count = new Uint8Array(COUNT_BYTES);
    await readFully(handle, count, at, file);
    const length = Number(new DataView(count.buffer).getBigUint64(0, true)) * width;
    if (length > size - at - COUNT_BYTES) {
      throw new SdaError(
        'bad-file',
        `${file} gives its storage ${JSON.stringify(key)} ${length} bytes where ${size - at - COUNT_BYTES} follow; it is truncated, download it again.`,
      );
    }
    places.set(key as string, { offset: at + COUNT_BYTES, size: length });
    at += COUNT_BYTES + length;
  }
  return { value, places, bigEndian: false };
}

/** Whether the file begins with a pickle of protocol 2, as the format has it. */
async function beginsWithPickle(handle: FileHandle, file: string, size: number): Promise<boolean> {
  const start = new Uint8Array(Math.min(2, size));
  await readFully(handle, start, 0, file);
  return start[0] === 0x80 && start[1] === 2;
}

/** Also keeps how many bytes the elements of each storage have. */
class Recorder extends TensorHandlers {
  readonly widths = new Map<string, number>();

  override persistent(id: PickleValue): PickleValue {
    const storage = super.persistent(id) as Storage;
    this.widths.set(storage.key, storage.dtype === null ? 1 : DTYPE_BITS[storage.dtype] / 8);
    return storage;
  }
}

function noCheckpoint(file: string): SdaError {
  return new SdaError(
    'bad-file',
    `${file} is no file of torch.save, neither the zip archive nor the older form; give a checkpoint's .bin or .pt file.`,
  );
}
