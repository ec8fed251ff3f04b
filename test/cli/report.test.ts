import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { embedded } from '../../src/report/page.js';
import { sda } from '../support/cli.js';
import { temporaryFolder } from '../support/folders.js';
import { madeUpRun, writeRun } from '../support/runs.js';

function runFolder(items = 5): string {
  const dir = join(temporaryFolder(), 'a-run');
  writeRun(dir, madeUpRun({ items }));
  return dir;
}

describe('sda report', () => {
  test('writes a page beside the run, and prints the table', async () => {
    const dir = runFolder();
    const { code, stdout, stderr } = await sda(['report', dir]);
    expect(code).toBe(0);
    expect(stdout).toContain('tiny-llama  questions  helpfulness  sda');
    expect(stderr).toContain(join(dir, 'report.html'));
    expect(readFileSync(join(dir, 'report.html'), 'utf8')).toMatch(/^<!doctype html>/);
    const again = await sda(['report', dir, '--table', 'csv']);
    expect(again.code).toBe(0);
    expect(again.stdout.split('\r\n')[0]).toContain('win rate %,win rate low,win rate high');
  });

  test('replaces no file that is no report, unless told to', async () => {
    const dir = runFolder();
    const out = join(dir, 'mine.html');
    writeFileSync(out, 'mine');
    const refused = await sda(['report', dir, '--out', out]);
    expect(refused.code).toBe(1);
    expect(refused.stderr).toContain('is there and no report of this program');
    expect(readFileSync(out, 'utf8')).toBe('mine');
    expect((await sda(['report', dir, '--out', out, '--force'])).code).toBe(0);
  });

  test('shows an unfinished run', async () => {
    const dir = runFolder();
    const file = join(dir, 'rows', 'judge-sda.jsonl');
    const text = readFileSync(file, 'utf8');
    writeFileSync(file, text.slice(0, text.length - 30)); // the last line is being written
    const { code, stdout } = await sda(['report', dir]);
    expect(code).toBe(0);
    expect(stdout).toMatch(/sda +full +4 /);
    expect(readFileSync(file, 'utf8')).toHaveLength(text.length - 30);
  });

  test.each<[string, (dir: string) => string, RegExp]>([
    ['no such path', (dir) => join(dir, 'none'), /none does not exist: give the folder of a run/],
    ['a folder without a run', (dir) => dir, /holds no run \(it has no run\.json\)/],
    [
      'a file that is no trace',
      (dir) => {
        writeFileSync(join(dir, 'x.jsonl'), '{"type": "step"}\n');
        return join(dir, 'x.jsonl');
      },
      /Line 1 of .*x\.jsonl cannot be used: it is not the header of a trace/,
    ],
    [
      'a trace with a broken line',
      (dir) => {
        const header = { type: 'header', trace_version: 1, model: 'm', settings: {} };
        writeFileSync(join(dir, 'y.jsonl'), `${JSON.stringify(header)}\n{"type"\n{}\n`);
        return join(dir, 'y.jsonl');
      },
      /Line 2 of .*y\.jsonl cannot be used: it is no JSON/,
    ],
    [
      'a run of another version',
      (dir) => {
        writeRun(dir, madeUpRun({ items: 1, header: { schema: 9 as unknown as 1 } }));
        return dir;
      },
      /was made with version 9 of its files, but this is version 1/,
    ],
  ])('refuses %s in one sentence', async (_, make, message) => {
    const path = make(temporaryFolder());
    const { code, stdout, stderr } = await sda(['report', path]);
    expect(code).toBe(1);
    expect(stdout).toBe('');
    expect(stderr).toMatch(message);
    expect(stderr.trim().split('\n')).toHaveLength(1);
    expect(existsSync(join(path, 'report.html'))).toBe(false);
  });
});

test('embedded JSON cannot end its element, and stays the same JSON', () => {
  const value = { text: '</script><!--<script>\u2028\u2029\ud800' };
  const json = embedded(JSON.stringify(value));
  expect(json).not.toMatch(/[<\u2028\u2029]/);
  expect(JSON.parse(json)).toEqual(value);
});
