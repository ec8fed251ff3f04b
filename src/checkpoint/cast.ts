import { SdaError } from '../errors.js';
import type { Checkpoint, TensorInfo } from './checkpoint.js';
import { derivedCheckpoint, placed } from './derived.js';
import { DTYPE_BITS, isWeightDtype, type WeightDtype } from './dtype.js';
import { readFloats } from './floats.js';
import { exceedsRange, narrow } from './narrow.js';

/**
 * The checkpoint with every float tensor in one dtype, each value rounded once.
 *
 * @param wanted which of them; default: all
 * @throws SdaError, when a tensor is read, `bad-tensor` where a value exceeds the dtype's range
 */
export function castCheckpoint(
  base: Checkpoint,
  dtype: WeightDtype,
  wanted: (name: string) => boolean = () => true,
): Checkpoint {
  const differs = (info: TensorInfo) =>
    isWeightDtype(info.dtype) && info.dtype !== dtype && wanted(info.name);
  const cast = (info: TensorInfo): TensorInfo => {
    const elements = info.byteLength / (DTYPE_BITS[info.dtype as WeightDtype] / 8);
    return { ...info, dtype, byteLength: (elements * DTYPE_BITS[dtype]) / 8 };
  };
  const tensors = [...base.tensors].map(
    ([name, info]) => [name, differs(info) ? cast(info) : info] as const,
  );
  return derivedCheckpoint(base, {
    tensors: new Map(tensors),
    read: async (name, into) => {
      const info = base.tensors.get(name)!;
      if (!differs(info)) return base.read(name, into);
      const values = await readFloats(base, name);
      if (exceedsRange(values, dtype)) {
        throw new SdaError(
          'bad-tensor',
          `${name} of ${info.file} holds values that exceed the range of ${dtype}; take --dtype bfloat16 or float32.`,
        );
      }
      return placed(narrow(values, dtype), into);
    },
  });
}
