import { clone, type Tensor } from '@tensorflow/tfjs-core';
import { executeOp, onGpu } from '../../src/runtime/backend.js';
import { defineKernel } from '../define.js';
import { readBackReference } from './reference.js';

type Input = { x: Tensor };

const kernelOf = (name: string) =>
  defineKernel<Input, object>({
    name,
    native: ({ x }) => executeOp(name, [], [x]),
    reference: readBackReference,
  });
const start = kernelOf('SdaReadBack');
const finish = kernelOf('SdaReadBackValues');

/** Values on their way to the host. */
export interface ReadBack {
  /** Waits for them; what the device was asked for later goes on meanwhile. */
  values(): Float32Array;
  dispose(): void;
}

/**
 * Asks for the values of a float32 tensor, which may be disposed at once. On a GPU tfjs's own `data` waits for
 * everything that the device has been asked for; this waits, in `values`, for what came before this call alone.
 */
export function readBack(x: Tensor): ReadBack {
  if (onGpu()) return readBehind(x);
  const copy = clone(x); // nothing to wait for
  return { values: () => copy.dataSync() as Float32Array, dispose: () => copy.dispose() };
}

/** `readBack` by the operations, on whatever device. */
export function readBehind(x: Tensor): ReadBack {
  const ticket = start({ x }, {})[0]!;
  return {
    values: () => {
      const arrived = finish({ x: ticket }, {})[0]!;
      const values = arrived.dataSync() as Float32Array;
      arrived.dispose();
      return values;
    },
    dispose: () => ticket.dispose(),
  };
}
