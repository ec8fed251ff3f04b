import type { FileHandle } from 'node:fs/promises';
import { DTYPE_BITS, type TensorDtype } from '../../checkpoint/dtype.js';
import { listSome } from '../../checkpoint/json-file.js';
import { readFully } from '../../checkpoint/safetensors.js';
import { SdaError } from '../../errors.js';
import { readLegacy } from './legacy.js';
import { readPickle } from './pickle.js';
import { PickleDict, type PickleValue } from './pickle-values.js';
import { PickledTensor, TensorHandlers } from './tensors.js';
import { type ArchiveEntry, archiveEntries, requireStored } from './zip.js';

/** Where the bytes of a storage are in its file. */
export type StoragePlaces = ReadonlyMap<string, { readonly offset: number; readonly size: number }>;

/** A tensor of a pickled file, checked to lie inside its bytes. */
export interface LocatedTensor {
  readonly name: string;
  readonly dtype: TensorDtype;
  readonly shape: readonly number[];
  /** In elements */
  readonly strides: readonly number[];
  /** Of its first element, absolute in the file, in bytes */
  readonly offset: number;
}

/** What a file of `torch.save` holds. */
export interface PickledFile {
  readonly tensors: readonly LocatedTensor[];
  readonly bigEndian: boolean;
  /** Each a sentence for people. */
  readonly warnings: readonly string[];
}

/** A checkpoint's pickle has about 150 bytes for each tensor. */
const MOST_PICKLE_BYTES = 64 * 2 ** 20;

const ZIP_MAGIC = 0x04034b50;

/**
 * Reads what names and describes the tensors of a `.bin` or `.pt` file; their bytes stay where they are. Both forms
 * are known, the zip archive of torch 1.6 and later and the row of pickles before it.
 * @throws SdaError `bad-file` for a damaged file, `unsupported` for one that holds more than tensors.
 */
export async function readPickledFile(handle: FileHandle, file: string): Promise<PickledFile> {
  const { size } = await handle.stat();
  const start = new Uint8Array(Math.min(8, size));
  await readFully(handle, start, 0, file);
  if (new TextDecoder().decode(start) === 'version ') {
    throw badFile(
      file,
      'is a Git LFS pointer and not the weights; run `git lfs pull` in its folder',
    );
  }
  const zipped = size >= 4 && new DataView(start.buffer).getUint32(0, true) === ZIP_MAGIC;
  const { value, places, bigEndian } = zipped
    ? await readArchive(handle, file)
    : await readLegacy(handle, file, MOST_PICKLE_BYTES);
  const { tensors, warnings } = stateDict(value, file);
  const located = [...tensors].map(([name, tensor]) => locate(name, tensor, places, file, size));
  return { tensors: located, bigEndian, warnings };
}

async function readArchive(handle: FileHandle, file: string) {
  const entries = await archiveEntries(handle, file);
  const pickle = [...entries.values()].find(({ name }) => /^[^/]*\/data\.pkl$/.test(name));
  if (!pickle)
    throw badFile(file, 'is a zip archive without a data.pkl; give a file of torch.save');
  const root = pickle.name.slice(0, -'data.pkl'.length);
  if (entries.has(`${root}constants.pkl`)) {
    throw new SdaError(
      'unsupported',
      `${file} is a TorchScript program where a state_dict is needed; save model.state_dict() with torch.save.`,
    );
  }
  const bytes = await readEntry(handle, pickle, file);
  const { value } = readPickle(bytes, new TensorHandlers(file), `The data.pkl of ${file}`);
  const order = entries.get(`${root}byteorder`);
  const bigEndian =
    order !== undefined &&
    new TextDecoder().decode(await readEntry(handle, order, file)).trim() === 'big';
  const prefix = `${root}data/`;
  const places = new Map<string, ArchiveEntry>();
  for (const entry of entries.values()) {
    if (!entry.name.startsWith(prefix)) continue;
    requireStored(entry, file);
    places.set(entry.name.slice(prefix.length), entry);
  }
  return { value, places, bigEndian };
}

async function readEntry(handle: FileHandle, entry: ArchiveEntry, file: string) {
  if (entry.size > MOST_PICKLE_BYTES) {
    throw badFile(
      file,
      `has a ${entry.name} of ${entry.size} bytes where at most ${MOST_PICKLE_BYTES} are read; it is no checkpoint`,
    );
  }
  requireStored(entry, file);
  const bytes = new Uint8Array(entry.size);
  await readFully(handle, bytes, entry.offset, file);
  return bytes;
}

/** Where training programs put the state_dict in a dict of their own. */
const WRAPPERS = ['state_dict', 'model_state_dict', 'model', 'module'];

/** The tensors of a state_dict by name; it may lie in the dict of a training program. */
function stateDict(value: PickleValue, file: string) {
  if (!(value instanceof PickleDict)) {
    throw badFile(file, 'holds no dict of tensors; save model.state_dict() with torch.save');
  }
  const inner = WRAPPERS.map((name) => value.entries.get(name)).find(
    (item): item is PickleDict => item instanceof PickleDict,
  );
  const outer = tensorsOf(value);
  const { tensors, others } = outer.tensors.size > 0 || !inner ? outer : tensorsOf(inner);
  if (tensors.size === 0) {
    throw badFile(file, 'holds a dict without tensors; save model.state_dict() with torch.save');
  }
  const ignored = `${file} holds ${others.length} values that are no tensors and are ignored: ${listSome(others)}.`;
  return { tensors, warnings: others.length === 0 ? [] : [ignored] };
}

function tensorsOf(dict: PickleDict) {
  const tensors = new Map<string, PickledTensor>();
  const others: string[] = [];
  for (const [name, item] of dict.entries) {
    if (item instanceof PickledTensor && typeof name === 'string') tensors.set(name, item);
    else others.push(typeof name === 'object' ? 'one with a key that is no text' : String(name));
  }
  return { tensors, others };
}

/** Holds a tensor against the bytes of its storage. */
function locate(
  name: string,
  { storage, dtype, offset, shape, strides }: PickledTensor,
  places: StoragePlaces,
  file: string,
  fileSize: number,
): LocatedTensor {
  const label = `the tensor ${JSON.stringify(name)}`;
  const place = places.get(storage.key);
  if (!place) {
    throw badFile(
      file,
      `lacks the bytes ${JSON.stringify(storage.key)} of ${label}; it is truncated`,
    );
  }
  const width = DTYPE_BITS[dtype] / 8;
  const length = storage.dtype === null ? storage.length / width : storage.length;
  const available = Math.floor(place.size / width) - storage.start;
  if (length > available) {
    throw badFile(
      file,
      `gives ${label} a storage of ${length} elements where ${Math.max(0, available)} follow; it is truncated, download it again`,
    );
  }
  const elements = shape.reduce((product, size) => product * size, 1);
  const last = shape.reduce((sum, size, axis) => sum + (size - 1) * strides[axis]!, offset);
  if (elements > 0 && last >= length) {
    throw badFile(
      file,
      `lets ${label} reach element ${last} of a storage that has ${length}; it is damaged, download it again`,
    );
  }
  if (elements * width > fileSize) {
    throw badFile(
      file,
      `gives ${label} the shape [${shape.join(', ')}], more bytes than the ${fileSize} of the whole file; save it again without expanded views`,
    );
  }
  const start = place.offset + (storage.start + offset) * width;
  return { name, dtype, shape, strides, offset: start };
}

function badFile(file: string, what: string): SdaError {
  return new SdaError('bad-file', `${file} ${what}.`);
}
