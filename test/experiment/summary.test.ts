import { describe, expect, test } from 'vitest';
import { wordCount } from '../../src/experiment/measures.js';
import { doneRow, failedRow } from '../../src/experiment/stages.js';
import { summarizeRun } from '../../src/experiment/summary.js';
import { smallRun, verdict } from './small-run.js';

describe('the summary of a run', () => {
  test('counts verdicts, failures apart, and what is not judged yet', () => {
    const [sda] = summarizeRun(smallRun()).comparisons;
    expect(sda).toMatchObject({
      method: 'sda',
      full: { judged: 3, wins: 1, losses: 1, ties: 1, failures: { 'no-score': 1 } },
      pending: 1,
    });
  });

  test('drops items with a gibberish base response from the refined set, and names them', () => {
    const summary = summarizeRun(smallRun());
    expect(summary.dropped).toEqual([{ item: 'c', reason: 'it repeats itself to the end' }]);
    expect(summary.comparisons[0]!.refined).toMatchObject({
      judged: 2,
      wins: 1,
      losses: 0,
      ties: 1,
    });
  });

  test('has mean lengths of both sides over the judged pairs', () => {
    expect(summarizeRun(smallRun()).comparisons[0]!.words).toEqual({ method: 2, base: 16 });
  });

  test('has mean tokens of both sides over the judged pairs', () => {
    expect(summarizeRun(smallRun()).comparisons[0]!.tokens).toEqual({ method: 20, base: 10 });
  });

  test('has no lengths where no pair was judged', () => {
    const verdicts = new Map([
      ['sda' as const, new Map([['a', failedRow('a', { kind: 'refused', reason: 'none' })]])],
    ]);
    const [sda] = summarizeRun(smallRun({ verdicts })).comparisons;
    expect(sda).toMatchObject({
      full: { judged: 0, winRate: null, failures: { refused: 1 } },
      words: { method: null, base: null },
      tokens: { method: null, base: null },
      pending: 4,
    });
  });

  test('keeps items in the refined set whose base response failed, as failures', () => {
    const run = smallRun();
    const responses = new Map(run.responses);
    const failure = { kind: 'unfinished-thinking', reason: 'none' } as const;
    responses.set('base', new Map([...run.responses.get('base')!, ['a', failedRow('a', failure)]]));
    const verdicts = new Map([
      ['sda' as const, new Map([['a', failedRow('a', { ...failure, kind: 'no-answer' })]])],
    ]);
    const summary = summarizeRun({ ...run, responses, verdicts });
    expect(summary.dropped.map(({ item }) => item)).toEqual(['c']);
    expect(summary.comparisons[0]!.refined.failures).toEqual({ 'no-answer': 1 });
  });

  test('describes scores and responses', () => {
    const { scores, responses, items } = summarizeRun(smallRun());
    expect(items).toBe(5);
    expect(scores).toMatchObject({ count: 4, mean: 50, median: 45, failures: { refused: 1 } });
    expect(scores.standardDeviation).toBeCloseTo(29.4392, 4); // statistics.stdev([20, 40, 50, 90])
    expect(responses.map(({ method }) => method)).toEqual(['base', 'sda']);
    const [base, sda] = responses;
    expect(base).toMatchObject({ responses: 5, js: null, temperature: null, cut: 0 });
    expect(sda).toMatchObject({ responses: 4, failures: { 'no-score': 1 }, cut: 1, tokens: 17.5 });
    expect(sda!.js).toBeCloseTo(0.2, 12);
    expect(sda!.temperature).toBeCloseTo(0.45, 12);
  });

  test('is complete when every item has a row in every stage', () => {
    expect(summarizeRun(smallRun()).complete).toBe(false);
    const whole = smallRun();
    const verdicts = new Map(whole.verdicts);
    verdicts.set(
      'sda',
      new Map([...whole.verdicts.get('sda')!, ['e', doneRow('e', verdict('tie', 1, 1))]]),
    );
    expect(summarizeRun({ ...whole, verdicts }).complete).toBe(true);
  });

  test('of a run that has just begun has no numbers', () => {
    const empty = { responses: new Map(), scores: new Map(), verdicts: new Map() };
    expect(summarizeRun(smallRun(empty))).toMatchObject({
      scores: { count: 0, mean: null, median: null, standardDeviation: null },
      responses: [],
      comparisons: [],
      complete: false,
    });
  });
});

test.each([
  ['', 0],
  ["Don't stop.", 2],
  ['a-b 12', 3],
  ['北京 is nice', 4],
])('%j has %d words', (text, count) => {
  expect(wordCount(text)).toBe(count);
});
