import { cpSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve, sep } from 'node:path';
import { expect, it } from 'vitest';
import { openCheckpoint } from '../../src/checkpoint/checkpoint.js';
import { loadConfig } from '../../src/model/config.js';
import { checkTensors } from '../../src/model/families.js';
import { loadChatTemplate } from '../../src/text/chat-template.js';
import { loadTokenizer } from '../../src/text/tokenizer.js';
import { loadTokenizerConfig } from '../../src/text/tokenizer-config.js';
import { checkpointDir } from '../support/checkpoints.js';
import { tiny } from '../text/golden.js';
import { expectAgreement } from './agreement.js';
import { fileOf, fresh, json, pathsOpened, root, utf8 } from './files.js';
import { type Dice, type Json, mutateBytes, mutateJson } from './mutate.js';
import { expectAccepted, faultOf, fuzz } from './outcome.js';

const SHARD = 'model-00001-of-00002.safetensors';

it('whole folders: what opens them says which file is wrong and opens no other; inspect says what loads', async () => {
  const dir = join(root, 'folder');
  cpSync(checkpointDir('tiny-qwen3'), dir, { recursive: true });
  cpSync(tiny('byte-level'), dir, { recursive: true });
  const names = readdirSync(dir).filter((name) =>
    /^((generation_|tokenizer_)?config|tokenizer|special_tokens_map|model\.safetensors\.index)\.json$/.test(
      name,
    ),
  );
  expect(names.length).toBeGreaterThanOrEqual(3);
  const seeds = Object.fromEntries(names.map((name) => [name, json(join(dir, name))]));
  const shard = readFileSync(join(dir, SHARD));
  const openers = [
    async () => checkTensors(await loadConfig(dir), (await openCheckpoint(dir)).tensors, dir),
    () => loadTokenizerConfig(dir),
    async () => {
      const tokenizer = await loadTokenizer(dir);
      return tokenizer.decode(tokenizer.encode('Hello <s>'));
    },
    () => loadChatTemplate(dir),
  ];
  const { accepted } = await fuzz(800, [dir], async (dice, { lap }) => {
    for (const [name, seed] of Object.entries(seeds)) {
      const changed = dice.below(3) === 0;
      const text = utf8(JSON.stringify(changed ? mutateJson(fresh(seed), dice) : seed));
      writeFileSync(join(dir, name), dice.below(9) === 0 ? mutateBytes(text, dice) : text);
    }
    const weights = dice.below(9) === 0 ? mutatedShard(shard, dice) : shard;
    writeFileSync(join(dir, SHARD), weights);
    const missing = dice.below(9) === 0 ? dice.pick(names) : null;
    if (missing) rmSync(join(dir, missing));
    const failures: unknown[] = [];
    const paths = await pathsOpened(async () => {
      for (const open of openers) {
        lap();
        try {
          await open();
        } catch (error) {
          failures.push(error);
        }
      }
    });
    expect(paths.length).toBeGreaterThan(0);
    for (const path of paths) expect(resolve(path).startsWith(dir + sep)).toBe(true);
    expect(failures.map((error) => faultOf(error, [dir])).filter(Boolean)).toEqual([]);
    lap();
    await expectAgreement(dir, lap);
    if (failures.length > 0) throw failures[0];
  });
  expectAccepted(accepted, 100);
});

/** A safetensors file with another header, or other bytes. */
function mutatedShard(file: Uint8Array, dice: Dice): Uint8Array {
  if (dice.below(3) === 0) return mutateBytes(file, dice);
  const end = 8 + Number(new DataView(file.buffer, file.byteOffset).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(file.subarray(8, end))) as Json;
  return fileOf(utf8(JSON.stringify(mutateJson(header, dice))), file.subarray(end));
}
