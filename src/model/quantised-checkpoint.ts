import type { Tensor2D } from '@tensorflow/tfjs-core';
import { quantise } from '../../kernels/quantise/index.js';
import type { Checkpoint, TensorInfo } from '../checkpoint/checkpoint.js';
import { derivedCheckpoint, placed } from '../checkpoint/derived.js';
import { messageOf, SdaError } from '../errors.js';
import { tensorFromBytes } from '../runtime/device-tensors.js';
import { type QuantisedShape, quantisedBytes, quantisedBytesOf } from '../runtime/quantised.js';
import type { ModelConfig } from './config.js';
import type { CheckedTensors } from './families.js';
import { rowOrderOf } from './partial-rotation.js';
import { quantisedSpecs } from './quantised-specs.js';
import { stackOf } from './stack.js';
import { isQkv } from './stacks.js';

/** Types that weights are quantised to: the linear layers in 8 or 4 bits, embedding and head in 8. */
export type QuantisedDtype = 'int8' | 'int4';

export function isQuantisedDtype(dtype: string): dtype is QuantisedDtype {
  return dtype === 'int8' || dtype === 'int4';
}

/** A checkpoint and what of it is loaded. */
export interface Quantised {
  readonly checkpoint: Checkpoint;
  readonly checked: CheckedTensors;
}

/**
 * A checkpoint whose matrices are quantised as they are read, one at a time; TensorFlow must have been started by then.
 *
 * @throws SdaError, when a matrix is read, `bad-tensor` where weights are not finite
 */
export function quantisedCheckpoint(
  config: ModelConfig,
  base: Checkpoint,
  checked: CheckedTensors,
  dtype: QuantisedDtype,
): Quantised {
  const inOrder = rowOrderOf(config);
  const bits = dtype === 'int8' ? 8 : 4;
  const specs = quantisedSpecs(checked.specs, ({ role }) => (role === 'linear' ? bits : 8));
  const specOf = new Map(specs.map((spec) => [spec.name, spec]));
  const tensors = specs.map(({ name, quantised, sources }): [string, TensorInfo] => {
    const info = base.tensors.get(sources[0]!)!;
    return [name, quantised ? quantisedInfo(name, info, quantised) : info];
  });
  let scratch = new Uint8Array(0);
  const checkpoint = derivedCheckpoint(base, {
    tensors: new Map(tensors),
    read: async (name, into) => {
      const { quantised, sources } = specOf.get(name)!;
      if (!quantised) return base.read(name, into);
      const stack = stackOf(base, sources, (source, part) => base.read(source, part));
      if (scratch.byteLength < stack.byteLength) scratch = new Uint8Array(stack.byteLength);
      const source = scratch.subarray(0, stack.byteLength);
      await stack.read(source);
      if (isQkv(name)) inOrder?.(source, stack.shape[0]!);
      const weight = tensorFromBytes(source, stack.shape, stack.stored) as Tensor2D;
      try {
        return placed(quantisedWeights(weight, quantised), into);
      } catch (error) {
        throw notQuantised(base.tensors.get(sources[0]!)!.file, name, error);
      } finally {
        weight.dispose();
      }
    },
  });
  return { checkpoint, checked: { ...checked, specs } };
}

/** A quantised matrix as a checkpoint has it, in the file of `source`. */
export function quantisedInfo(name: string, source: TensorInfo, shape: QuantisedShape): TensorInfo {
  const byteLength = quantisedBytes(shape);
  return { ...source, name, dtype: 'U8', shape: [byteLength], byteLength };
}

function quantisedWeights(weight: Tensor2D, { bits, parts }: QuantisedShape): Uint8Array {
  const made = quantise({ weight, bits, parts });
  try {
    return quantisedBytesOf(made);
  } finally {
    made.dispose();
  }
}

function notQuantised(file: string, name: string, error: unknown): SdaError {
  return new SdaError(
    'bad-tensor',
    `${name} of ${file} cannot be quantised (${messageOf(error).split('\n', 1)[0]}); check the checkpoint for NaN and infinite values.`,
    { cause: error },
  );
}
