import { copyFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { checkpointFingerprint } from '../../src/checkpoint/fingerprint.js';
import { checkpointDir } from '../support/checkpoints.js';
import { copyOf, editJson, temporaryFolder } from '../support/folders.js';
import { rewriteTensors, type Stored } from '../support/safetensors.js';
import { addTokenizer } from '../support/tiny-tokenizer.js';

const SOURCE = checkpointDir('tiny-llama');
const same = await checkpointFingerprint(SOURCE);

/** A tensor with one bit of one byte turned. */
function turned(tensor: Stored, at: number): Stored {
  const bytes = tensor.bytes.slice();
  bytes[at]! ^= 1;
  return { ...tensor, bytes };
}

/** Every value changed in its last place. */
const lowBit = (byte: number, i: number) => (i % 4 === 0 ? byte ^ 1 : byte);

describe('the fingerprint of a checkpoint', () => {
  it('is the same for a copy, whatever else lies beside it', async () => {
    const dir = copyOf('tiny-llama');
    expect(await checkpointFingerprint(dir)).toBe(same);
    copyFileSync(join(dir, 'model.safetensors'), join(dir, 'consolidated.safetensors'));
    expect(await checkpointFingerprint(dir)).toBe(same);
    expect(same).toMatch(/^[0-9a-f]{16}$/);
  });

  it('differs between two fine-tunes of one base, in whichever tensor they differ', async () => {
    const found = new Set([same]);
    const names: string[] = [];
    await rewriteTensors(copyOf('tiny-llama'), (tensor) => {
      names.push(tensor.name);
      return tensor;
    });
    for (const changed of names) {
      const dir = copyOf('tiny-llama');
      await rewriteTensors(dir, (tensor) =>
        tensor.name === changed ? { ...tensor, bytes: tensor.bytes.map(lowBit) } : tensor,
      );
      found.add(await checkpointFingerprint(dir));
    }
    expect(found.size).toBe(names.length + 1);
  });

  it('samples a large tensor at both ends and between', async () => {
    const size = 100_000;
    const large = (tensor: Stored, at: number | null) => {
      const grown = { ...tensor, shape: [size / 4], bytes: new Uint8Array(size) };
      return at === null ? grown : turned(grown, at);
    };
    const of = async (at: number | null) => {
      const dir = copyOf('tiny-llama');
      await rewriteTensors(dir, (tensor) =>
        tensor.name === 'model.norm.weight' ? large(tensor, at) : tensor,
      );
      return checkpointFingerprint(dir);
    };
    const plain = await of(null);
    for (const at of [0, 4095, Math.ceil(size / 3), size - 4096, size - 1]) {
      expect(await of(at), `byte ${at}`).not.toBe(plain);
    }
  });

  it('covers the configuration, the tokenizer and the template', async () => {
    const dir = copyOf('tiny-llama');
    addTokenizer(dir);
    const withTokenizer = await checkpointFingerprint(dir);
    expect(withTokenizer).not.toBe(same);
    editJson(join(dir, 'config.json'), { rms_norm_eps: 2e-5 });
    const withConfig = await checkpointFingerprint(dir);
    expect(withConfig).not.toBe(withTokenizer);
    copyFileSync(join(dir, 'config.json'), join(dir, 'chat_template.jinja'));
    expect(await checkpointFingerprint(dir)).not.toBe(withConfig);
  });

  it('of a folder without weights is refused', async () => {
    const dir = temporaryFolder();
    await expect(checkpointFingerprint(dir)).rejects.toMatchObject({ code: 'file-missing' });
    rmSync(dir, { recursive: true });
    await expect(checkpointFingerprint(dir)).rejects.toThrow('does not exist');
  });
});
