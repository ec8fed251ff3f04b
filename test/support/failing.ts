import { type NodeBackend, nodeBackend } from '../../src/runtime/backend.js';

/** A call of TensorFlow's binding that can be made to fail. */
export type BindingCall = 'executeOp' | 'createTensor';

/**
 * Runs `body` while call number `at` of TensorFlow fails, as where memory runs out.
 *
 * @returns whether it came to that, and what `body` threw
 */
export async function failingAt(
  at: number,
  call: BindingCall,
  body: () => unknown,
): Promise<{ readonly failed: boolean; readonly error: unknown }> {
  const backend = nodeBackend() as { binding: NodeBackend['binding'] };
  const { binding } = backend;
  let calls = 0;
  const own = binding[call] as (...args: unknown[]) => unknown;
  const value = (...args: unknown[]) => {
    if (calls++ === at) throw new Error('OOM');
    return own(...args);
  };
  let error: unknown;
  backend.binding = Object.create(binding, { [call]: { value } }); // its own properties cannot be changed
  try {
    await body();
  } catch (thrown) {
    error = thrown;
  } finally {
    backend.binding = binding;
  }
  return { failed: calls > at, error };
}
