import type { Checkpoint, TensorInfo } from '../checkpoint/checkpoint.js';
import {
  DTYPE_NAMES,
  isWeightDtype,
  type WeightDtype as StoredDtype,
} from '../checkpoint/dtype.js';
import { widen } from '../checkpoint/widen.js';
import { SdaError } from '../errors.js';
import type { DeviceDtype } from '../runtime/backend.js';
import { BYTES_PER_ELEMENT } from '../runtime/device-tensors.js';

/** Tensors of a checkpoint, stacked along their first axis. */
export interface Stack {
  readonly shape: readonly number[];
  /** The type of all of them; float32 where they are stored in different ones */
  readonly stored: DeviceDtype;
  readonly byteLength: number;
  /** Fills `into` with `byteLength` bytes. */
  read(into: Uint8Array): Promise<void>;
}

interface StoredTensor extends TensorInfo {
  readonly dtype: StoredDtype;
  /** Its element type in TensorFlow's terms */
  readonly device: DeviceDtype;
}

/**
 * @param read reads one of the tensors
 * @throws SdaError `bad-tensor` for a missing tensor, `unsupported` for a stored type that is no float
 */
export function stackOf(
  checkpoint: Checkpoint,
  names: readonly string[],
  read: (name: string, into: Uint8Array) => Promise<unknown>,
): Stack {
  const infos = names.map((name) => infoOf(checkpoint, name));
  const { device, shape } = infos[0]!;
  const stored = infos.every((info) => info.device === device) ? device : 'float32';
  const rows = infos.reduce((sum, info) => sum + info.shape[0]!, 0);
  const sizes = infos.map((info) => BYTES_PER_ELEMENT[stored] * elementsOf(info.shape));
  return {
    shape: [rows, ...shape.slice(1)],
    stored,
    byteLength: sizes.reduce((sum, size) => sum + size, 0),
    read: async (into) => {
      let offset = 0;
      for (const [i, info] of infos.entries()) {
        await fill(info, into.subarray(offset, offset + sizes[i]!));
        offset += sizes[i]!;
      }
    },
  };

  async function fill(info: StoredTensor, into: Uint8Array): Promise<void> {
    if (info.device === stored) {
      await read(info.name, into);
      return;
    }
    const narrow = new Uint8Array(info.byteLength);
    await read(info.name, narrow);
    widen(narrow, info.dtype, into);
  }
}

function infoOf(checkpoint: Checkpoint, name: string): StoredTensor {
  const info = checkpoint.tensors.get(name);
  if (!info) {
    throw new SdaError('bad-tensor', `${checkpoint.dir}: the tensor ${name} is missing.`);
  }
  const { dtype } = info;
  if (!isWeightDtype(dtype)) {
    throw new SdaError(
      'unsupported',
      `${info.file}: the tensor ${name} is stored as ${info.dtype}, but only F32, F16 and BF16 can be loaded: convert the checkpoint.`,
    );
  }
  return { ...info, name, dtype, device: DTYPE_NAMES[dtype] };
}

function elementsOf(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1);
}
