import { join } from 'node:path';
import { expect, test } from 'vitest';
import { z } from 'zod';
import type { Item, Row } from '../../src/experiment/rows.js';
import { Stage, type StageProgress } from '../../src/experiment/stage.js';
import { doneRow, failedRow } from '../../src/experiment/stages.js';
import { StageFile } from '../../src/experiment/store/index.js';
import { temporaryFolder } from '../support/folders.js';

const REFUSED = { kind: 'refused', reason: 'No.' } as const;
const itemsOf = (count: number): Item[] =>
  Array.from({ length: count }, (_, i) => ({ id: `q${i}`, query: `${i}?`, labels: {} }));

function fileOf(): StageFile<number> {
  return new StageFile(join(temporaryFolder(), 'rows.jsonl'), z.number());
}

test('a stage counts failed rows as they come, and those that are made up for', async () => {
  const file = fileOf();
  file.append(failedRow('q0', REFUSED));
  const seen: StageProgress[] = [];
  const stage = new Stage('score', file, itemsOf(3), (progress) => seen.push(progress));
  const rows: Row<number>[] = [failedRow('q1', REFUSED), doneRow('q0', 1), doneRow('q2', 2)];
  await stage.fill(async (pending, onRow) => {
    expect(pending.map(({ id }) => id)).toEqual(['q0', 'q1', 'q2']);
    for (const row of rows) onRow(row);
    onRow(failedRow('q1', REFUSED)); // again
    onRow(doneRow('q1', 3));
  });
  expect(seen.map(({ done, failed }) => [done, failed])).toEqual([
    [1, 1],
    [2, 2],
    [2, 1],
    [3, 1],
    [3, 1],
    [3, 0],
  ]);
  expect(stage.failed()).toBe(0);
  file.close();
});

/** Rows that are looked at while a stage of `count` items is filled. */
async function rowsLookedAt(count: number): Promise<number> {
  let looked = 0;
  const file = fileOf();
  const rows = new (class extends Map<string, Row<number>> {
    override get(item: string) {
      looked++;
      return super.get(item);
    }
    override *[Symbol.iterator]() {
      for (const entry of super.entries()) {
        looked++;
        yield entry;
      }
      return undefined;
    }
    override *values() {
      for (const row of super.values()) {
        looked++;
        yield row;
      }
      return undefined;
    }
  })();
  file.rows = () => rows;
  file.append = (row) => {
    rows.set(row.item, row);
  };
  file.seal = () => {};
  const items = itemsOf(count);
  await new Stage('score', file, items, () => {}).fill(async (_, onRow, onTokens) => {
    for (const { id } of items) {
      onTokens(1);
      onRow(failedRow(id, REFUSED));
    }
  });
  file.close();
  return looked;
}

test('a stage looks at no row again for each row that comes', async () => {
  const [few, many] = [await rowsLookedAt(100), await rowsLookedAt(1000)];
  expect(few).toBeGreaterThan(0);
  expect(many).toBe(10 * few);
});
