import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Checkpoint } from '../../src/checkpoint/checkpoint.js';
import { loadModel } from '../../src/index.js';
import { expectClose } from '../support/close.js';
import { TOLERANCE } from '../support/tolerances.js';

const FIXTURES = fileURLToPath(new URL('../fixtures/import', import.meta.url));

/** The path of a fixture; make.py beside them says what each is. */
export function fixture(...names: readonly string[]): string {
  return join(FIXTURES, ...names);
}

export function golden<T>(folder: string, file = 'golden.json'): T {
  return JSON.parse(readFileSync(fixture(folder, file), 'utf8')) as T;
}

/** Bytes of a checkpoint's tensors by name, with dtype and shape. */
export async function contentsOf(checkpoint: Checkpoint) {
  const found: Record<string, { dtype: string; shape: readonly number[]; data: string }> = {};
  for (const [name, { dtype, shape }] of checkpoint.tensors) {
    const data = Buffer.from(await checkpoint.read(name)).toString('base64');
    found[name] = { dtype, shape, data };
  }
  return found;
}

/** Holds the logits of a folder, computed in float32, to those of transformers. */
export async function expectLogits(
  dir: string,
  ids: readonly number[],
  expected: readonly number[],
): Promise<void> {
  const model = await loadModel(dir, { dtype: 'float32' });
  try {
    expectClose(await model.logits(ids), expected, TOLERANCE.logits);
  } finally {
    model.dispose();
  }
}
