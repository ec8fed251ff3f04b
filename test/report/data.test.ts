import { expect, test } from 'vitest';
import type { RunData, TokenTrace } from '../../src/experiment/rows.js';
import { summarizeRun } from '../../src/experiment/summary.js';
import { courseOf, pageRun } from '../../src/report/data.js';
import { embedded } from '../../src/report/page.js';
import { Traces } from '../../src/report/page-traces.js';
import { AWKWARD, madeUpRun } from '../support/runs.js';

const trace = (js: (number | null)[], temperature: (number | null)[]): TokenTrace => ({
  text: js.map((_, i) => `t${i}`),
  js,
  temperature,
  logpBase: js.map(() => -1.5),
  logpInstructed: js.map(() => null),
  logp: js.map(() => -0.25),
});

const TRACES = [
  trace([0.1, 0.2, 0.3, 0.9], [0.6, 0.5, 0.4, 0.3]),
  trace([0.05, null, 0.35], [0.2, 0.25, 0.3]),
  trace([0.4, 0.6, null], [0.55, 0.45, 0.35]),
  trace([0.2, 0.1], [0.6, 0.6]),
  trace([0.3], [0.1]),
];

test('quartiles at each position are those of numpy.percentile, without values that are missing', () => {
  expect(courseOf('sda', TRACES)).toEqual({
    method: 'sda',
    count: [5, 4, 3],
    js: [
      [0.1, 0.2, 0.3],
      [0.15, 0.2, 0.4],
      [0.3125, 0.325, 0.3375],
    ],
    temperature: [
      [0.2, 0.55, 0.6],
      [0.4, 0.475, 0.525],
      [0.325, 0.35, 0.375],
    ],
  });
});

test('the course of one answer goes on behind a value that is missing', () => {
  const course = courseOf('sda', [trace([0.1, null, 0.3], [0.6, 0.5, 0.4])]);
  expect(course?.count).toEqual([1, 1, 1]);
  expect(course?.js[1]).toBeNull();
  expect(course?.js[2]).toEqual([0.3, 0.3, 0.3]);
});

test('a trace keeps its numbers to the digits that are shown, and what is missing', () => {
  const traces = new Traces();
  expect(traces.add(trace([0.12344, null], [0.5996, 0.2]))).toBe(0);
  expect(traces.add({ ...TRACES[4]!, logpBase: [-1e6] })).toBe(1);
  const numbers = (line: string) => {
    const bytes = Buffer.from((JSON.parse(line) as [string[], string])[1], 'base64');
    return Array.from({ length: bytes.length / 2 }, (_, i) => bytes.readInt16LE(2 * i));
  };
  const none = -32768;
  // two tokens each of JS in 1e-4, T in 1e-3, log P1, log P2 and log P' in 1e-2
  expect(numbers(traces.lines[0]!)).toEqual([
    1234,
    none,
    600,
    200,
    -150,
    -150,
    none,
    none,
    -25,
    -25,
  ]);
  expect(numbers(traces.lines[1]!)[2]).toBe(-32767); // the lowest that is held
  expect(traces.hottest).toBe(0.5996);
});

test('a trace of a rule keeps its columns by name, each with a scale that holds it', () => {
  const traces = new Traces();
  traces.add({
    text: ['a', 'b'],
    logp: [-0.5, null],
    logps: { told: [-1.25, -2], untold: [null, -3] },
    statistics: { js: [0.2, 0.1], temperature: [0.9, 0.7], surprise: [-500, 250] },
  });
  const [texts, numbers, columns] = JSON.parse(traces.lines[0]!) as [
    string[],
    string,
    [string, number][],
  ];
  const bytes = Buffer.from(numbers, 'base64');
  const read = Object.fromEntries(
    columns.map(([name, scale], column) => [
      name,
      texts.map((_, i) => {
        const units = bytes.readInt16LE(2 * (column * texts.length + i));
        return units === -32768 ? null : units / scale;
      }),
    ]),
  );
  expect(read).toEqual({
    js: [0.2, 0.1],
    temperature: [0.9, 0.7],
    surprise: [expect.closeTo(-500, 9), expect.closeTo(250, 1)], // in units of 500 / 32767
    'log P(told)': [-1.25, -2],
    'log P(untold)': [null, -3],
    "log P'": [-0.5, null],
  });
  expect(traces.hottest).toBe(0.9);
  const other = { text: ['a'], logp: [-1], logps: {}, statistics: {} };
  expect(courseOf('mine', [other])).toMatchObject({ js: [null], temperature: [null] });
});

test('names the stages that are unfinished, where the summary says that some are', () => {
  const run = madeUpRun({ items: 20 });
  expect(pageRun(run, new Traces()).unfinished).toEqual([]);
  expect(summarizeRun(run).complete).toBe(true);
  const first = <T>(rows: ReadonlyMap<string, T>, count: number) =>
    new Map([...rows].slice(0, count));
  const cut: RunData = {
    ...run,
    responses: new Map([...run.responses].map(([m, rows]) => [m, first(rows, 20)])),
    scores: first(run.scores, 13),
    verdicts: new Map([['instructed', first(run.verdicts.get('instructed')!, 4)]]),
  };
  expect(pageRun(cut, new Traces()).unfinished).toEqual([
    'scores 13 of 20',
    'verdicts on instructed 4 of 20',
    'verdicts on sda 0 of 20',
  ]);
  expect(summarizeRun(cut).complete).toBe(false);
});

test('awkward texts come back from the page as they were', () => {
  const traces = new Traces();
  const run = pageRun(madeUpRun({ items: AWKWARD.length, tokens: 2 }), traces);
  for (const value of [run, ...traces.lines.map((line) => JSON.parse(line) as unknown)]) {
    const json = embedded(JSON.stringify(value));
    expect(json).not.toMatch(/[<\u2028\u2029]/);
    expect(Buffer.from(json).toString()).toBe(json); // no lone surrogate is left to be replaced
    expect(JSON.parse(json)).toEqual(JSON.parse(JSON.stringify(value)));
  }
  const answers = run.items.map(({ responses }) => responses.base as { answer: string });
  expect(answers.map(({ answer }, i) => answer.startsWith(AWKWARD[i]!))).not.toContain(false);
});
