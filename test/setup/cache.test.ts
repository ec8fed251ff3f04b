import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import {
  COMPLETE_MARKER,
  cacheKey,
  fillFolder,
  readComplete,
  replaceFile,
} from '../../src/setup/cache.js';
import { errorOf, temporaryFolder } from './helpers.js';

function fillWith(text: string) {
  return async (folder: string) => {
    writeFileSync(join(folder, 'library.so'), text);
    return ['library.so'];
  };
}

describe('a cached folder', () => {
  test('is complete once it has been filled, with nothing left beside it', async () => {
    const root = temporaryFolder();
    await fillFolder(join(root, 'tf'), fillWith('abc'));
    expect((await readComplete(join(root, 'tf')))?.files).toEqual({ 'library.so': 3 });
    expect(readdirSync(root)).toEqual(['tf']);
  });

  test('does not come about when filling it fails, and leaves nothing', async () => {
    const root = temporaryFolder();
    const fill = async (folder: string) => {
      writeFileSync(join(folder, 'library.so'), 'half');
      throw new Error('connection reset');
    };
    await expect(fillFolder(join(root, 'tf'), fill)).rejects.toThrow('connection reset');
    expect(readdirSync(root)).toEqual([]);
  });

  test('without its marker is not trusted, and is replaced', async () => {
    const folder = join(temporaryFolder(), 'tf');
    mkdirSync(folder);
    writeFileSync(join(folder, 'library.so'), 'half');
    expect(await readComplete(folder)).toBeUndefined();
    await fillFolder(folder, fillWith('whole'));
    expect(readFileSync(join(folder, 'library.so'), 'utf8')).toBe('whole');
    expect(await readComplete(folder)).toBeDefined();
  });

  test.each([
    ['a shortened file', (folder: string) => writeFileSync(join(folder, 'library.so'), 'ab')],
    ['half a marker', (folder: string) => writeFileSync(join(folder, COMPLETE_MARKER), '{"files"')],
  ])('with %s is not trusted', async (_, damage) => {
    const folder = join(temporaryFolder(), 'tf');
    await fillFolder(folder, fillWith('abc'));
    damage(folder);
    expect(await readComplete(folder)).toBeUndefined();
  });

  test('of another key is not trusted, and is replaced', async () => {
    const folder = join(temporaryFolder(), 'model');
    await fillFolder(folder, fillWith('old'), { key: 'a' });
    expect(await readComplete(folder, 'b')).toBeUndefined();
    await fillFolder(folder, fillWith('new'), { key: 'b' });
    expect(readFileSync(join(folder, 'library.so'), 'utf8')).toBe('new');
  });

  test('filled by two runs at once is wholly that of one', async () => {
    const root = temporaryFolder();
    const folder = join(root, 'tf');
    const slow = (text: string) => async (temporary: string) => {
      writeFileSync(join(temporary, 'a'), text);
      await new Promise((resolve) => setTimeout(resolve, 20));
      writeFileSync(join(temporary, 'b'), text);
      return ['a', 'b'];
    };
    await Promise.all(['1', '2', '3'].map((text) => fillFolder(folder, slow(text))));
    expect(readFileSync(join(folder, 'a'), 'utf8')).toBe(readFileSync(join(folder, 'b'), 'utf8'));
    expect(readdirSync(root)).toEqual(['tf']);
  });

  test('loses what a killed run left, and keeps what a live one is writing', async () => {
    const root = temporaryFolder();
    const deadPid = spawnSync(process.execPath, ['-e', '']).pid;
    const dead = join(root, `tf.tmp-${hostname()}-${deadPid}-00`);
    const live = join(root, `tf.tmp-${hostname()}-${process.pid}-00`);
    for (const folder of [dead, live]) mkdirSync(folder);
    await fillFolder(join(root, 'tf'), fillWith('abc'));
    expect([existsSync(dead), existsSync(live)]).toEqual([false, true]);
  });
});

test('a cache that cannot be written is named, with SDA_CACHE_DIR', async () => {
  const file = join(temporaryFolder(), 'file');
  writeFileSync(file, '');
  vi.stubEnv('SDA_CACHE_DIR', join(file, 'cache'));
  onTestFinished(() => void vi.unstubAllEnvs());
  const error = await errorOf(fillFolder(join(file, 'cache', 'thing'), async () => []));
  expect(error.message).toBe(
    `The folder ${join(file, 'cache')} cannot be written (ENOTDIR: not a directory): make it writable, or set SDA_CACHE_DIR to a folder that is.`,
  );
  const elsewhere = await errorOf(fillFolder(join(file, 'other', 'thing'), async () => []));
  expect(elsewhere.message).toMatch(
    /cannot be written \(ENOTDIR: not a directory\): make it writable\.$/,
  );
});

test('replaceFile leaves an equal file untouched and makes the folders of a new one', async () => {
  const path = join(temporaryFolder(), 'a', 'b.node');
  await replaceFile(path, 'one');
  const before = statSync(path).ino;
  await replaceFile(path, 'one');
  expect(statSync(path).ino).toBe(before);
  await replaceFile(path, 'two');
  expect(readFileSync(path, 'utf8')).toBe('two');
  expect(readdirSync(join(path, '..'))).toEqual(['b.node']);
});

test('cacheKey depends on every part and not on their order', () => {
  const key = cacheKey({ a: 1, b: ['x'] });
  expect(cacheKey({ b: ['x'], a: 1 })).toBe(key);
  expect(cacheKey({ a: 2, b: ['x'] })).not.toBe(key);
  expect(cacheKey({ a: 1, b: ['x', ''] })).not.toBe(key);
});
