import { spawnSync } from 'node:child_process';
import {
  closeSync,
  existsSync,
  fstatSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  symlinkSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { doneRow } from '../../src/experiment/stages.js';
import { StageFile } from '../../src/experiment/store/index.js';
import { packageRoot } from '../../src/runtime/paths.js';
import { MAIN } from '../support/cli.js';
import { resultsOf, tinyExperiment } from '../support/experiments.js';
import { temporaryFolder } from '../support/folders.js';
import { errorOf } from '../support/tensorflow.js';

const NO_DESCRIPTORS = 'this system has no /proc/self/fd to see open files in';
const ITEMS = Array.from({ length: 20 }, (_, i) => `q${i}`);
const dist = (path: string) => JSON.stringify(join(packageRoot(), 'dist/src/experiment', path));

/** Runs Node where no file grows beyond so many bytes: a write is cut there, and the next one fails, as on a full disk. */
function nodeWithLimit(bytes: number, args: readonly string[]) {
  const script =
    'import os, resource, sys; n = int(sys.argv[1]); resource.setrlimit(resource.RLIMIT_FSIZE, (n, n)); os.execv(sys.argv[2], sys.argv[2:])';
  const command = ['-c', script, String(bytes), process.execPath, ...args];
  const env = { ...process.env, FORCE_COLOR: '0' };
  return spawnSync('python3', command, { encoding: 'utf8', env });
}

/** Appends a row for each item until one fails, then another, and closes. */
const APPENDER = `
import { StageFile } from ${dist('store/stage-file.js')};
import { doneRow } from ${dist('stages.js')};
import { z } from ${JSON.stringify(import.meta.resolve('zod'))};
const [file, items] = process.argv.slice(1);
const stage = new StageFile(file, z.string());
const errors = [];
for (const item of JSON.parse(items)) {
  try { stage.append(doneRow(item, item.repeat(9))); } catch (error) { errors.push(error.message); }
}
stage.close();
console.log(JSON.stringify({ errors, kept: [...stage.rows().keys()] }));`;

function openDescriptors(file: string): number[] {
  return readdirSync('/proc/self/fd')
    .map(Number)
    .filter((descriptor) => {
      try {
        return readlinkSync(`/proc/self/fd/${descriptor}`).startsWith(file);
      } catch {
        return false; // that of the listing
      }
    });
}

function sealed(file: string): string {
  const stage = new StageFile(file, z.string());
  for (const item of ITEMS) {
    if (!stage.rows().has(item)) stage.append(doneRow(item, item.repeat(9)));
  }
  stage.seal(ITEMS);
  stage.close();
  return readFileSync(file, 'utf8');
}

describe('a file of rows on a full disk', () => {
  const whole = () => sealed(join(temporaryFolder(), 'rows.jsonl'));

  test.each([1, 60, 300, 301, 302, 700])('that takes %i bytes keeps its finished rows', (limit) => {
    const file = join(temporaryFolder(), 'rows.jsonl');
    const args = ['--input-type=module', '-e', APPENDER, file, JSON.stringify(ITEMS)];
    const { stdout, stderr } = nodeWithLimit(limit, args);
    expect(stderr).toBe('');
    const { errors, kept } = JSON.parse(stdout) as { errors: string[]; kept: string[] };
    expect(errors).toHaveLength(ITEMS.length - kept.length);
    expect(new Set(errors).size).toBe(1); // nothing is written after the first
    expect(errors[0]).toMatch(
      /^The file .*rows\.jsonl cannot be written \(EFBIG: .*\): its finished/,
    );
    expect(readFileSync(file).length).toBe(limit); // the last row is cut
    const again = new StageFile(file, z.string());
    expect([...again.rows().keys()]).toEqual(kept);
    again.close();
    expect(sealed(file)).toBe(whole());
  });

  test('is as it was where it cannot be put in order, and takes more', async () => {
    const file = join(temporaryFolder(), 'rows.jsonl');
    const stage = new StageFile(file, z.string());
    for (const item of ITEMS.slice(1).reverse()) stage.append(doneRow(item, item.repeat(9)));
    const before = readFileSync(file, 'utf8');
    symlinkSync('/dev/full', `${file}.draft`);
    const error = await errorOf(() => stage.seal(ITEMS));
    expect(String(error)).toMatch(/The file .*rows\.jsonl cannot be written \(ENOSPC: /);
    expect(readFileSync(file, 'utf8')).toBe(before);
    expect(existsSync(`${file}.draft`)).toBe(false);
    stage.append(doneRow('q0', 'q0'.repeat(9)));
    stage.seal(ITEMS);
    stage.close();
    expect(readFileSync(file, 'utf8')).toBe(whole());
  });

  test('leaves no descriptor open', async ({ skip }) => {
    skip(!existsSync('/proc/self/fd'), NO_DESCRIPTORS);
    const dir = temporaryFolder();
    const device = join(dir, 'device');
    symlinkSync('/dev/null', device);
    const before = openDescriptors('/dev/null').length;
    const error = await errorOf(() => new StageFile(device, z.string()));
    expect(String(error)).toMatch(/device cannot be written \(EINVAL: /); // cannot be cut
    expect(openDescriptors('/dev/null')).toHaveLength(before);
    const stage = new StageFile(join(dir, 'rows.jsonl'), z.string());
    stage.append(doneRow('a', 'a'));
    stage.seal(['a']);
    stage.close();
    expect(openDescriptors(dir)).toEqual([]);
  });

  test('uses no descriptor that is closed', async ({ skip }) => {
    skip(!existsSync('/proc/self/fd'), NO_DESCRIPTORS);
    const file = join(temporaryFolder(), 'rows.jsonl');
    const stage = new StageFile(file, z.string());
    const [descriptor] = openDescriptors(file);
    closeSync(descriptor!);
    const error = await errorOf(() => stage.append(doneRow('a', 'a')));
    expect(String(error)).toMatch(/rows\.jsonl cannot be written \(EBADF: .*\): its finished rows/);
    const other = openSync(join(temporaryFolder(), 'other'), 'w');
    expect(other).toBe(descriptor); // the number is another file's now
    expect(await errorOf(() => stage.append(doneRow('a', 'a')))).toEqual(error);
    stage.close();
    stage.close();
    expect(fstatSync(other).size).toBe(0);
    closeSync(other);
  });
});

test('a run on a full disk says which file, and goes on once there is space', () => {
  const { file, newRun } = tinyExperiment({ decoding: { max_tokens: 16 } }, 12);
  const [undisturbed, stopped] = [newRun(), newRun()];
  const run = (out: string) => [MAIN, 'run', file, '--out', out];
  expect(spawnSync(process.execPath, run(undisturbed)).status).toBe(0);
  const expected = resultsOf(undisturbed);
  const largest = Math.max(...Object.values(expected).map((text) => Buffer.byteLength(text)));
  const { status, stderr } = nodeWithLimit(largest - 100, run(stopped));
  expect(status).toBe(1);
  expect(stderr).toMatch(
    /error: The file .*\.jsonl cannot be written \(EFBIG: .*start the run again\.\n$/,
  );
  expect(spawnSync(process.execPath, run(stopped)).status).toBe(0);
  expect(resultsOf(stopped)).toEqual(expected);
});
