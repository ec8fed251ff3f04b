import type { CheckpointName } from './checkpoints.js';
import { copyOf } from './folders.js';
import { rewriteTensors } from './safetensors.js';
import { addTokenizer, TINY_TEMPLATE } from './tiny-tokenizer.js';

/** A copy of a float32 checkpoint with other weights and a tokenizer: a second model of the same tokens. */
export async function otherWeights(name: CheckpointName = 'tiny-llama'): Promise<string> {
  const dir = copyOf(name);
  await rewriteTensors(dir, (tensor) => {
    const values = new Float32Array(tensor.bytes.slice().buffer);
    const changed = values.map((value, index) => value * (1 + 0.5 * Math.sin(index)));
    return { ...tensor, bytes: new Uint8Array(changed.buffer) };
  });
  addTokenizer(dir, TINY_TEMPLATE);
  return dir;
}

/** A tiny checkpoint that answers text. */
export function withText(name: CheckpointName = 'tiny-llama'): string {
  const dir = copyOf(name);
  addTokenizer(dir, TINY_TEMPLATE);
  return dir;
}
