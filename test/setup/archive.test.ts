import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { unpackArchive } from '../../src/setup/archive.js';
import { findPython } from '../../src/setup/tools.js';
import { errorOf, temporaryFolder, writeZip } from './helpers.js';

const python = await findPython();

async function unpack(archive: string, destination: string, prefixes: string[]) {
  const progress: [number, number][] = [];
  await unpackArchive({
    python,
    archive,
    destination,
    prefixes,
    onProgress: (done, total) => progress.push([done, total]),
  });
  return progress;
}

test('unpacks the chosen members alone and says how far it is', async () => {
  const dir = temporaryFolder();
  writeZip(join(dir, 'a.whl'), { 'tf/lib.so': 'abc', 'tf/include/x.h': 'de', 'tf/other.py': 'f' });
  const out = join(dir, 'out');
  const progress = await unpack(join(dir, 'a.whl'), out, ['tf/lib.so', 'tf/include/']);
  expect(readdirSync(join(out, 'tf')).sort()).toEqual(['include', 'lib.so']);
  expect(readFileSync(join(out, 'tf', 'include', 'x.h'), 'utf8')).toBe('de');
  expect(progress.at(-1)).toEqual([5, 5]);
});

test.each(['../evil', 'tf/../../evil', '/tmp/sda-evil', 'tf\\..\\evil'])(
  'refuses an archive that holds %s and writes nothing',
  async (name) => {
    const dir = temporaryFolder();
    writeZip(join(dir, 'a.whl'), { 'tf/lib.so': 'abc', [name]: 'x' });
    const error = await errorOf(unpack(join(dir, 'a.whl'), join(dir, 'out'), ['tf/']));
    expect(error.message).toContain('unsafe name');
    expect(error.message).toContain(join(dir, 'a.whl'));
    expect(readdirSync(dir)).toEqual(['a.whl']);
    expect(existsSync('/tmp/sda-evil')).toBe(false);
  },
);

test('refuses an archive without what is asked for', async () => {
  const dir = temporaryFolder();
  writeZip(join(dir, 'a.whl'), { 'tf/lib.so': 'abc' });
  const error = await errorOf(unpack(join(dir, 'a.whl'), join(dir, 'out'), ['tf/include/']));
  expect(error.message).toContain("holds no 'tf/include/'");
});

test.each([
  ['cut short', (bytes: Buffer) => bytes.subarray(0, bytes.length - 30)],
  ['with a changed byte', (bytes: Buffer) => Buffer.from(bytes).fill(0x21, 45, 46)],
])('refuses an archive %s', async (_, damage) => {
  const dir = temporaryFolder();
  const archive = join(dir, 'a.whl');
  writeZip(archive, { 'tf/lib.so': 'a'.repeat(100) });
  writeFileSync(archive, damage(readFileSync(archive)));
  const error = await errorOf(unpack(archive, join(dir, 'out'), ['tf/']));
  expect(error.code).toBe('setup');
  expect(error.message).toContain('damaged');
});
