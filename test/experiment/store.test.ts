import { existsSync, readdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import type { RunHeader } from '../../src/experiment/rows.js';
import { doneRow, failedRow } from '../../src/experiment/stages.js';
import { RunStore, readRun, StageFile } from '../../src/experiment/store/index.js';
import { temporaryFolder } from '../support/folders.js';
import { madeUpRun, writeRun } from '../support/runs.js';
import { errorOf } from '../support/tensorflow.js';

const number = z.number();
const row = (item: string, value: number) => `${JSON.stringify(doneRow(item, value))}\n`;
const failure = failedRow('b', { kind: 'refused', reason: 'No.' });

function fileWith(text: string): string {
  const file = join(temporaryFolder(), 'rows.jsonl');
  writeFileSync(file, text);
  return file;
}

describe('a file of rows', () => {
  test('holds what was appended, and the newest row of an item counts', () => {
    const file = fileWith('');
    const stage = new StageFile(file, number);
    stage.append(doneRow('a', 1));
    stage.append(failure);
    stage.append(doneRow('b', 2));
    stage.close();
    const again = new StageFile(file, number);
    expect([...again.rows().keys()]).toEqual(['a', 'b']);
    expect(again.rows().get('b')).toMatchObject({ status: 'done', value: 2 });
    again.close();
  });

  test('cut at any byte holds the rows that are whole, and takes more', () => {
    const whole = `${row('a', 1)}${JSON.stringify(failure)}\n${row('ü', 3)}`;
    const bytes = Buffer.from(whole);
    fc.assert(
      fc.property(fc.integer({ min: 0, max: bytes.length }), (length) => {
        const file = fileWith(whole);
        truncateSync(file, length);
        const stage = new StageFile(file, number);
        const kept = bytes.subarray(0, length).toString().split('\n');
        const complete = ['a', 'b', 'ü'].filter((_, i) => {
          const line = whole.split('\n')[i]!;
          return kept[i] === line; // whole but for its line end, perhaps
        });
        expect([...stage.rows().keys()]).toEqual(complete);
        stage.append(doneRow('z', 9));
        stage.close();
        const again = new StageFile(file, number);
        expect([...again.rows().keys()]).toEqual([...complete, 'z']);
        again.close();
      }),
      { numRuns: 150 },
    );
  });

  test.each<[string, string, RegExp]>([
    [
      'is no JSON',
      `${row('a', 1)}oops\n${row('b', 2)}`,
      /^Line 2 of .*rows\.jsonl cannot be used: it is no JSON/,
    ],
    [
      'is of another version',
      row('a', 1).replace('"schema":1', '"schema":7'),
      /^Line 1 .* written in version 7 of the rows, but this is version 1/,
    ],
    [
      'finishes an item twice',
      row('a', 1) + row('b', 1) + row('a', 2),
      /^Line 3 .* the item "a" is finished on line 1 already/,
    ],
    ['has a wrong value', row('a', 1).replace(':1}', ':"x"}'), /^Line 1 .* value: /],
  ])('with a line that %s is refused by that line', async (_, text, message) => {
    const error = await errorOf(() => new StageFile(fileWith(text), number));
    expect(error).toMatchObject({ code: 'bad-file', message: expect.stringMatching(message) });
  });

  test('keeps fields that it does not know', () => {
    const file = fileWith(row('a', 1).replace('"status"', '"more":[1],"status"'));
    const stage = new StageFile(file, number);
    stage.append(doneRow('b', 2));
    stage.seal(['b', 'a']);
    stage.close();
    expect(readFileSync(file, 'utf8').split('\n')[1]).toContain('"more":[1]');
  });

  test('does not take an item that is finished', async () => {
    const stage = new StageFile(fileWith(row('a', 1)), number);
    const error = await errorOf(() => stage.append(doneRow('a', 2)));
    expect(String(error)).toContain('the item "a" is finished already');
    stage.close();
  });

  test('has the same bytes once it is sealed, whatever the order and the failures before', () => {
    const items = ['a', 'b', 'c'];
    const texts = [
      [doneRow('a', 1), doneRow('b', 2), doneRow('c', 3)],
      [doneRow('c', 3), failure, doneRow('a', 1), failure, doneRow('b', 2)],
    ].map((rows) => {
      const file = fileWith('');
      const stage = new StageFile(file, number);
      for (const each of rows) stage.append(each);
      stage.seal(items);
      stage.seal(items);
      stage.close();
      return readFileSync(file, 'utf8');
    });
    expect(texts[1]).toBe(texts[0]);
    expect(texts[0]).toBe(row('a', 1) + row('b', 2) + row('c', 3));
  });
});

describe('the folder of a run', () => {
  const made = madeUpRun({ items: 3 });
  const open = (dir: string, header: RunHeader = made.header) =>
    RunStore.open(dir, header, made.sessions[0]!, made.items);

  test('is read back as it was written', () => {
    const dir = temporaryFolder();
    writeRun(dir, made);
    expect(readRun(dir)).toEqual({ ...made, dir });
  });

  test('is made, closed, and opened again with another session', () => {
    const dir = join(temporaryFolder(), 'deep', 'run');
    const store = open(dir);
    const stage = store.stage('score', z.unknown());
    stage.append(failure);
    store.close();
    open(dir).close();
    expect(readRun(dir).sessions).toHaveLength(2);
    expect(readdirSync(dir).sort()).toEqual(['items.jsonl', 'rows', 'run.json', 'sessions.jsonl']);
  });

  test('in which nothing is done is begun anew by other settings; one with rows refuses them', async () => {
    const dir = temporaryFolder();
    const empty = open(dir);
    empty.stage('score', z.unknown());
    empty.close();
    const other = { ...made.header, configHash: 'other', config: { seed: 2 } };
    const store = open(dir, other);
    expect(readRun(dir).header).toMatchObject({ configHash: 'other', config: { seed: 2 } });
    store.stage('score', z.unknown()).append(failure);
    store.close();
    expect(String(await errorOf(() => open(dir)))).toContain('was made with other settings');
    expect(readRun(dir).header.configHash).toBe('other');
  });

  test('keeps whole sessions where one was half written', () => {
    const dir = temporaryFolder();
    writeRun(dir, made);
    const file = join(dir, 'sessions.jsonl');
    writeFileSync(file, `${readFileSync(file, 'utf8')}{"at": "20`);
    open(dir).close();
    expect(readRun(dir).sessions).toEqual([...made.sessions, made.sessions[0]]);
  });

  test('with something else in it is refused, and left alone', async () => {
    const dir = temporaryFolder();
    writeFileSync(join(dir, 'thesis.tex'), '');
    const error = await errorOf(() => open(dir));
    expect(String(error)).toContain('holds something else than a run (thesis.tex)');
    expect(readdirSync(dir)).toEqual(['thesis.tex']);
  });

  test('that cannot be made is named', async () => {
    const file = join(temporaryFolder(), 'file');
    writeFileSync(file, '');
    const error = await errorOf(() => open(join(file, 'run')));
    expect(error).toMatchObject({ code: 'bad-input' });
    expect(String(error)).toMatch(/file\/run.*cannot be/);
  });

  test('with a damaged header is refused', async () => {
    const dir = temporaryFolder();
    writeRun(dir, made);
    writeFileSync(join(dir, 'run.json'), '{"schema": 1');
    expect(String(await errorOf(() => readRun(dir)))).toContain('run.json is no JSON');
    expect(String(await errorOf(() => open(dir)))).toContain('run.json is no JSON');
    expect(existsSync(join(dir, 'lock'))).toBe(false);
  });
});
