import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { openGguf } from '../../src/import/gguf/checkpoint.js';
import { ggufTokenizer } from '../../src/import/gguf/tokenizer.js';
import { parseConfig } from '../../src/model/config.js';
import { checkTensors } from '../../src/model/families.js';
import { fixture } from '../import/fixtures.js';
import { root } from './files.js';
import { type Dice, mutateBytes } from './mutate.js';
import { expectAccepted, fuzz, largestBuffer } from './outcome.js';

/** A mutated file; half of the time a number of its header is another one. */
function mutated(bytes: Uint8Array, dice: Dice): Uint8Array {
  if (dice.below(2) === 0) return mutateBytes(bytes, dice);
  const copy = Buffer.from(bytes);
  const at = dice.below(Math.min(copy.length, dice.pick([40, 1000, copy.length])) - 8);
  const number = dice.pick([0n, 1n, 9n, 255n, 2n ** 31n, 2n ** 32n, 2n ** 53n, 2n ** 64n - 1n]);
  copy.writeBigUInt64LE(number, at);
  return copy;
}

it('GGUF files take no more memory than they have', async () => {
  const seeds = ['llama.gguf', 'qwen3.gguf'].map(
    (name) => new Uint8Array(readFileSync(fixture('gguf', name))),
  );
  const file = join(root, 'mutated.gguf');
  const { accepted } = await fuzz(250, [file], async (dice) => {
    const bytes = mutated(dice.pick(seeds), dice);
    writeFileSync(file, bytes);
    let failure: unknown;
    const largest = await largestBuffer(async () => {
      try {
        const { checkpoint, config, metadata } = await openGguf(file);
        try {
          ggufTokenizer(metadata);
          const parsed = parseConfig(config, { file });
          const { specs } = checkTensors(parsed, checkpoint.tensors, file);
          for (const { name } of specs) await checkpoint.read(name);
        } finally {
          await checkpoint.close();
        }
      } catch (error) {
        failure = error;
      }
    });
    expect(largest).toBeLessThanOrEqual(Math.max(bytes.length, 1024));
    if (failure) throw failure;
  });
  expectAccepted(accepted, 20);
});
