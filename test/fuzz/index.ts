import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join, resolve, sep } from 'node:path';
import { expect, it } from 'vitest';
import { openCheckpoint } from '../../src/checkpoint/checkpoint.js';
import { DATA, fileOf, fresh, HEADER, pathsOpened, root, utf8 } from './files.js';
import { type Dice, type Json, mutateBytes, mutateJson } from './mutate.js';
import { expectAccepted, fuzz } from './outcome.js';

const shard = fileOf(utf8(JSON.stringify(HEADER)), DATA);

it('indexes: no file outside the folder is opened', async () => {
  const outside = join(root, 'outside.safetensors');
  writeFileSync(outside, shard);
  const dir = join(root, 'sharded');
  mkdirSync(join(dir, 'sub'), { recursive: true });
  const good = ['one.safetensors', 'sub/two.safetensors'];
  for (const name of good) writeFileSync(join(dir, name), shard);
  // as the cache of huggingface_hub has its files: the link's own place is inside
  symlinkSync(outside, join(dir, 'link.safetensors'));
  const names = [
    ...good,
    'link.safetensors',
    '../outside.safetensors',
    outside,
    `/${outside}`,
    `file://${outside}`,
    'sub/../../outside.safetensors',
    './one.safetensors',
    'sub//two.safetensors',
    '..\\outside.safetensors',
    'one.safetensors\0',
    '../outside.safetensors\0one.safetensors',
    'one\u001b[2J.safetensors',
    `${'x'.repeat(300)}.safetensors`,
    'none.safetensors',
    'sub/none.safetensors',
    'one.safetensors/none.safetensors',
    'sub',
    '',
    'one',
    '%2e%2e/outside.safetensors',
    '.../outside.safetensors',
  ];
  const { accepted } = await fuzz(1500, [dir], async (dice) => {
    const text = utf8(JSON.stringify(indexOf(names, good, dice)));
    writeFileSync(
      join(dir, 'model.safetensors.index.json'),
      dice.below(9) === 0 ? mutateBytes(text, dice) : text,
    );
    let failure: unknown;
    const paths = await pathsOpened(async () => {
      try {
        const checkpoint = await openCheckpoint(dir);
        for (const name of checkpoint.tensors.keys()) await checkpoint.read(name);
        await checkpoint.close();
      } catch (error) {
        failure = error;
      }
    });
    expect(paths.length).toBeGreaterThan(0);
    for (const path of paths) expect(resolve(path).startsWith(dir + sep)).toBe(true);
    if (failure) throw failure;
  });
  expectAccepted(accepted, 100);
});

function indexOf(names: readonly string[], good: readonly string[], dice: Dice): Json {
  const stale = dice.below(8) === 0 ? 'a tensor of another revision' : 'a';
  const index: Json = {
    metadata: { total_size: 32 },
    weight_map: {
      [stale]: dice.pick(names),
      'model.b.weight': dice.pick(good),
      empty: dice.pick(good),
    },
  };
  return dice.below(2) === 0 ? mutateJson(fresh(index), dice) : index;
}
