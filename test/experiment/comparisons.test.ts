import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Pairing, Row, RunData, Verdict } from '../../src/experiment/rows.js';
import { doneRow, failedRow, pairingName } from '../../src/experiment/stages.js';
import { readRun } from '../../src/experiment/store/index.js';
import { summarizeRun } from '../../src/experiment/summary.js';
import { resultsTable, type TableFormat } from '../../src/experiment/table.js';
import { pageRun } from '../../src/report/data.js';
import { Traces } from '../../src/report/page-traces.js';
import { temporaryFolder } from '../support/folders.js';
import { madeUpRun, writeRun } from '../support/runs.js';
import { HEADER, response, smallRun, verdict } from './small-run.js';

const INSTRUCTED: Pairing = { method: 'instructed', against: 'base' };
const SDA: Pairing = { method: 'sda', against: 'base' };
const STEERING: Pairing = { method: 'sda', against: 'steering' };
const PAIRINGS = [INSTRUCTED, SDA, STEERING];

type Cell = Verdict['winner'] | 'no-score' | 'unreachable' | 'pending';

/** A run whose verdicts are `cells[item][comparison]`. */
function runOf(cells: Readonly<Record<string, readonly Cell[]>>, pairings = PAIRINGS): RunData {
  const ids = Object.keys(cells);
  const rowOf = (item: string, cell: Cell): Row<Verdict>[] => {
    if (cell === 'pending') return [];
    if (cell === 'no-score' || cell === 'unreachable') {
      return [failedRow(item, { kind: cell, reason: 'none' })];
    }
    return [doneRow(item, verdict(cell, 60, 40))];
  };
  const methods = ['base', 'instructed', 'steering', 'sda'] as const;
  return smallRun({
    header: { ...HEADER, methods, comparisons: pairings },
    items: ids.map((id) => ({ id, query: id, labels: {} })),
    responses: new Map(
      methods.map((method, at) => [
        method,
        // as many words as the method's place and the item's say
        new Map(ids.map((id, i) => [id, doneRow(id, response('w '.repeat(10 * (at + 1) + i)))])),
      ]),
    ),
    scores: new Map(),
    verdicts: new Map(
      pairings.map((pairing, at) => [
        pairingName(pairing),
        new Map(ids.flatMap((id) => rowOf(id, cells[id]![at]!).map((row) => [id, row] as const))),
      ]),
    ),
  });
}

const CELLS: Readonly<Record<string, readonly Cell[]>> = {
  // against base: instructed, sda; sda against steering
  a: ['method', 'method', 'tie'],
  b: ['base', 'method', 'method'],
  c: ['method', 'no-score', 'no-score'],
  d: ['tie', 'base', 'unreachable'],
  e: ['method', 'tie', 'pending'],
  f: ['unreachable', 'method', 'base'],
};

describe('comparisons', () => {
  test('are all over the items that each of them has a verdict on: here a and b', () => {
    const [instructed, sda, steering] = summarizeRun(runOf(CELLS)).comparisons;
    expect(instructed).toMatchObject({
      ...INSTRUCTED,
      full: {
        ...{ judged: 2, wins: 1, losses: 1, ties: 0 },
        failures: { unreachable: 1 },
        leftOut: {
          'no-score of sda': 1,
          'unreachable of sda-vs-steering': 1,
          'pending of sda-vs-steering': 1,
        },
      },
      pending: 0,
    });
    expect(sda).toMatchObject({
      ...SDA,
      full: {
        ...{ judged: 2, wins: 2, losses: 0, ties: 0 },
        failures: { 'no-score': 1 },
        leftOut: {
          'unreachable of sda-vs-steering': 1,
          'pending of sda-vs-steering': 1,
          'unreachable of instructed': 1,
        },
      },
      pending: 0,
    });
    expect(steering).toMatchObject({
      ...STEERING,
      full: {
        ...{ judged: 2, wins: 1, losses: 0, ties: 1 },
        failures: { 'no-score': 1, unreachable: 1 },
        leftOut: { 'unreachable of instructed': 1 },
      },
      pending: 1,
    });
  });

  test('have the lengths of their own two sides, over the same items', () => {
    const { comparisons } = summarizeRun(runOf(CELLS));
    // a and b have 0 and 1 words more than 10 base, 20 instructed, 30 steering, 40 sda
    expect(comparisons.map(({ words }) => words)).toEqual([
      { method: 20.5, base: 10.5 },
      { method: 40.5, base: 10.5 },
      { method: 40.5, base: 30.5 },
    ]);
  });

  test('without a single verdict take no item from the others', () => {
    const cells = Object.fromEntries(
      Object.entries(CELLS).map(([id, [one, two]]) => [id, [one!, two!, 'unreachable'] as const]),
    );
    const [instructed, sda, steering] = summarizeRun(runOf(cells)).comparisons;
    expect(instructed!.full.judged).toBe(4); // a, b, d, e
    expect(sda!.full.judged).toBe(4);
    expect(steering!.full).toMatchObject({
      judged: 0,
      winRate: null,
      failures: { unreachable: 6 },
    });
  });

  test('count the same items, and every item once, whatever failed', () => {
    const cell = fc.constantFrom<Cell>(
      'method',
      'base',
      'tie',
      'no-score',
      'unreachable',
      'pending',
    );
    fc.assert(
      fc.property(fc.array(fc.tuple(cell, cell, cell), { minLength: 1 }), (rows) => {
        const cells = Object.fromEntries(rows.map((row, i) => [`i${i}`, row]));
        const { comparisons } = summarizeRun(runOf(cells));
        const total = (counts: Readonly<Record<string, number>>) =>
          Object.values(counts).reduce((sum, count) => sum + count, 0);
        const judged = comparisons.flatMap(({ full }) => full.judged || []);
        expect(new Set(judged).size).toBeLessThan(2);
        for (const { full, pending } of comparisons) {
          const { failures, leftOut } = full;
          expect(full.judged + total(failures) + total(leftOut) + pending).toBe(rows.length);
        }
      }),
    );
  });

  test('are the same in the table and on the page', () => {
    const run = runOf(CELLS);
    const table = (format: TableFormat) =>
      resultsTable([{ run, summary: summarizeRun(run) }], format).split(/\r?\n/);
    const cells = (line: string) => line.split('|').map((cell) => cell.trim());
    const [heading, , ...lines] = table('markdown').map(cells);
    const column = (name: string) =>
      lines.filter((line) => line.includes('full')).map((line) => line[heading!.indexOf(name)]);
    expect(column('method')).toEqual(['instructed', 'sda', 'sda']);
    expect(column('against')).toEqual(['base', 'base', 'steering']);
    expect(column('n')).toEqual(['2', '2', '2']);
    expect(column('failed')).toEqual(['1', '1', '2']);
    expect(column('left out')).toEqual(['3', '3', '1']);
    expect(table('csv')[5]).toContain(',1,1 unreachable of instructed,1,'); // left out, why, pending

    const page = pageRun(run, new Traces());
    expect(page.summary!.comparisons).toEqual(summarizeRun(run).comparisons);
    const counted = page.items.filter(({ verdicts }) =>
      Object.values(verdicts).some((each) => 'winner' in each && each.leftOut === null),
    );
    expect(counted.map(({ id }) => id)).toEqual(['a', 'b']);
    expect(page.items[5]!.verdicts).toMatchObject({
      instructed: { failed: 'unreachable' },
      'sda-vs-steering': { winner: 'base', leftOut: 'unreachable of instructed' },
    });
  });
});

test('means over responses are over the queries that all methods have answered', () => {
  const run = runOf(CELLS);
  const responses = new Map(run.responses);
  const failure = failedRow('f', { kind: 'no-score', reason: 'none' });
  for (const method of ['steering', 'sda'] as const) {
    responses.set(method, new Map([...run.responses.get(method)!, ['f', failure]]));
  }
  const summary = summarizeRun({ ...run, responses });
  // the six responses have 0..5 words more; the last is left out
  expect(summary.responses.map(({ words, leftOut }) => [words, leftOut])).toEqual([
    [12, 1],
    [22, 1],
    [32, 0],
    [42, 0],
  ]);
});

test('a run made before comparisons were named compares each method with base', () => {
  const dir = join(temporaryFolder(), 'run');
  writeRun(dir, madeUpRun({ items: 5 }));
  const file = join(dir, 'run.json');
  const { comparisons, ...header } = JSON.parse(readFileSync(file, 'utf8')) as RunData['header'];
  expect(comparisons).toEqual([INSTRUCTED, SDA]);
  writeFileSync(file, JSON.stringify(header));
  expect(readRun(dir).header.comparisons).toEqual([INSTRUCTED, SDA]);
  expect(readRun(dir).verdicts.get('sda')!.size).toBe(5);
  writeFileSync(file, JSON.stringify({ ...header, judge: null }));
  expect(readRun(dir).header.comparisons).toEqual([]);
});
