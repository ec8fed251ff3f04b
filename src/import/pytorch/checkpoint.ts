import type { FileHandle } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { type Checkpoint, readWeightMap, type TensorInfo } from '../../checkpoint/checkpoint.js';
import { DTYPE_BITS } from '../../checkpoint/dtype.js';
import { listSome } from '../../checkpoint/json-file.js';
import { openFile } from '../../checkpoint/open-file.js';
import { readFully } from '../../checkpoint/safetensors.js';
import { SdaError } from '../../errors.js';
import { type LocatedTensor, readPickledFile } from './file.js';
import { copyStrided, isRowMajor, spannedElements, swapBytes } from './strided.js';

export const PICKLED_FILE = 'pytorch_model.bin';
export const PICKLED_INDEX = 'pytorch_model.bin.index.json';

/**
 * The tensors of one file of `torch.save` by the names that it gives them, to be read one at a time.
 * @throws SdaError as `readPickledFile`; `file-missing`.
 */
export async function openPickled(file: string): Promise<Checkpoint> {
  const checkpoint = new PickledCheckpoint(dirname(file));
  try {
    await checkpoint.add(file);
    return checkpoint;
  } catch (error) {
    await checkpoint.close();
    throw error;
  }
}

/**
 * The same for the shards of a `pytorch_model.bin.index.json`. A tensor that the index names must be in its shard.
 * @throws SdaError also `bad-file` where index and shards differ.
 */
export async function openPickledShards(indexFile: string): Promise<Checkpoint> {
  const weightMap = await readWeightMap(indexFile, '.bin');
  const checkpoint = new PickledCheckpoint(dirname(indexFile));
  try {
    for (const shard of [...new Set(weightMap.values())].sort()) {
      const wanted = [...weightMap].filter(([, its]) => its === shard).map(([name]) => name);
      await checkpoint.add(join(checkpoint.dir, shard), new Set(wanted));
    }
    const missing = [...weightMap.keys()].filter((name) => !checkpoint.tensors.has(name));
    if (missing.length > 0) {
      throw new SdaError(
        'bad-file',
        `${indexFile} does not fit its shards, ${missing.length} tensors are not where it says: ${listSome(missing)}; the index is stale, download index and shards from the same revision.`,
      );
    }
    return checkpoint;
  } catch (error) {
    await checkpoint.close();
    throw error;
  }
}

interface Place {
  readonly handle: FileHandle;
  readonly tensor: LocatedTensor;
  readonly bigEndian: boolean;
}

class PickledCheckpoint implements Checkpoint {
  readonly tensors = new Map<string, TensorInfo>();
  readonly warnings: string[] = [];
  totalBytes = 0;
  private readonly places = new Map<string, Place>();
  private readonly handles: FileHandle[] = [];

  constructor(readonly dir: string) {}

  /** @param wanted those of its tensors that are taken; default: all */
  async add(file: string, wanted?: ReadonlySet<string>): Promise<void> {
    const handle = await openFile(file);
    this.handles.push(handle);
    const { tensors, bigEndian, warnings } = await readPickledFile(handle, file);
    this.warnings.push(...warnings);
    for (const tensor of tensors) {
      const { name, dtype, shape, offset } = tensor;
      if (wanted && !wanted.has(name)) continue;
      const elements = shape.reduce((product, size) => product * size, 1);
      const byteLength = (elements * DTYPE_BITS[dtype]) / 8;
      this.tensors.set(name, { name, dtype, shape, file, offset, byteLength });
      this.places.set(name, { handle, tensor, bigEndian });
      this.totalBytes += byteLength;
    }
  }

  async read(name: string, into?: Uint8Array): Promise<Uint8Array> {
    const info = this.tensors.get(name);
    const place = this.places.get(name);
    if (!info || !place) {
      throw new SdaError(
        'bad-tensor',
        `${this.dir} has no tensor ${JSON.stringify(name)} among its ${this.tensors.size}; check that the weights fit config.json.`,
      );
    }
    const { handle, tensor, bigEndian } = place;
    const { shape, strides } = tensor;
    const width = DTYPE_BITS[tensor.dtype] / 8;
    const bytes = into ?? new Uint8Array(info.byteLength);
    if (bytes.length === 0) return bytes;
    if (isRowMajor(shape, strides)) await readFully(handle, bytes, info.offset, info.file);
    else {
      const spanned = new Uint8Array(spannedElements(shape, strides) * width);
      await readFully(handle, spanned, info.offset, info.file);
      copyStrided(spanned, bytes, shape, strides, width);
    }
    if (bigEndian) swapBytes(bytes, tensor.dtype === 'C64' ? width / 2 : width);
    return bytes;
  }

  async close(): Promise<void> {
    for (const handle of this.handles.splice(0)) await handle.close();
  }
}
