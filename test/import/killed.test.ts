import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { importModel } from '../../src/import/import.js';
import { packageRoot } from '../../src/runtime/paths.js';
import { NODE, sda } from '../support/cli.js';
import { temporaryFolder } from '../support/folders.js';
import { fixture } from './fixtures.js';

const DIE = fileURLToPath(new URL('die.mjs', import.meta.url));
const MODULE = join(packageRoot(), 'dist', 'src', 'import', 'import.js');

const contentsOf = (dir: string) =>
  Object.fromEntries(
    readdirSync(dir).map((name) => [name, readFileSync(join(dir, name)).toString('base64')]),
  );

it('an import that is killed at any moment leaves no folder that loads, and the next one works', async () => {
  const source = fixture('gguf', 'qwen3.gguf');
  const whole = join(temporaryFolder(), 'out');
  await importModel(source, whole);
  let moments = 0;
  for (;;) {
    const parent = temporaryFolder();
    const out = join(parent, 'out');
    const last = String(moments + 1);
    const { signal, status, stderr } = spawnSync(NODE, [DIE, MODULE, source, out, last], {
      encoding: 'utf8',
    });
    if (signal === null) {
      expect([status, stderr]).toEqual([0, '']);
      break;
    }
    expect(signal).toBe('SIGKILL');
    moments++;
    for (const name of readdirSync(parent)) {
      const left = join(parent, name);
      const loads = existsSync(join(left, 'config.json'));
      // its last calls: the finished folder takes its name, and nothing is left to remove
      if (loads) expect(contentsOf(left)).toEqual(contentsOf(whole));
    }
    if (existsSync(out)) continue;
    await importModel(source, out);
    expect(readdirSync(parent)).toEqual(['out']);
    expect(contentsOf(out)).toEqual(contentsOf(whole));
  }
  expect(moments).toBeGreaterThanOrEqual(9);
});

it('a stopped import says so, and leaves nothing', async () => {
  const parent = temporaryFolder();
  const source = fixture('gguf', 'llama.gguf');
  const stop = new AbortController();
  stop.abort();
  const stopped = importModel(source, join(parent, 'out'), { signal: stop.signal });
  await expect(stopped).rejects.toThrow('The import was stopped.');
  expect(readdirSync(parent)).toEqual([]);
  const again = await sda(['import', source, '--out', join(parent, 'out')]);
  expect([again.code, again.stderr]).toEqual([0, '']);
});
