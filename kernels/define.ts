import { engine, type NamedTensorMap, registerKernel, type Tensor } from '@tensorflow/tfjs-core';
import { hasNativeKernel } from '../src/runtime/native.js';

/** The tensors a kernel takes, by name; an absent optional input is `undefined`. */
export type KernelInputs = Record<string, Tensor | undefined>;

/** One operation in its two forms, which compute the same numbers. */
export interface KernelDefinition<I extends KernelInputs, A extends object> {
  /** Name in the tfjs registry and, for the native form, of the TensorFlow operation. */
  readonly name: string;
  /** Runs the compiled operation. Absent while a kernel has no native form. */
  readonly native?: (inputs: I, attrs: A) => Tensor[];
  /** The same, composed of TensorFlow's own operations. */
  readonly reference: (inputs: I, attrs: A) => Tensor[];
}

/**
 * Registers a kernel with tfjs for the `tensorflow` backend and returns the function that runs it. The
 * native form serves when its operation is loaded, the reference otherwise.
 */
export function defineKernel<I extends KernelInputs, A extends object>(
  definition: KernelDefinition<I, A>,
): (inputs: I, attrs: A) => Tensor[] {
  const { name, native, reference } = definition;
  registerKernel({
    kernelName: name,
    backendName: 'tensorflow',
    kernelFunc: ({ inputs, attrs }) => {
      const run = native && hasNativeKernel(name) ? native : reference;
      return run(inputs as unknown as I, attrs as unknown as A);
    },
  });
  return (inputs, attrs) =>
    engine().runKernel<Tensor[]>(name, inputs as unknown as NamedTensorMap, attrs as never);
}
