import { describe, expect, test } from 'vitest';
import type {
  Item,
  Method,
  Response,
  Row,
  RunData,
  RunHeader,
  Score,
  Verdict,
} from '../../src/experiment/rows.js';
import { doneRow, failedRow } from '../../src/experiment/stages.js';
import { summarizeRun, wordCount } from '../../src/experiment/summary.js';
import { resultsTable } from '../../src/experiment/table.js';

const GIBBERISH = 'yes '.repeat(40);
const ids = ['a', 'b', 'c', 'd', 'e'];

const HEADER: RunHeader = {
  schema: 1,
  name: 'small',
  config: {},
  configHash: 'x',
  model: { name: 'tiny, "quoted"', dtype: 'auto', fingerprint: 'f' },
  dataSet: { name: 'plain', items: ids.length, sha256: 's' },
  core: 'empathy',
  instruction: 'Be kind.',
  methods: ['base', 'sda'],
  evaluator: 'openai gpt-4.1',
  judge: 'openai a|b',
  standIn: false,
  seed: 3,
};

function response(answer: string, more: Partial<Response> = {}): Response {
  return {
    text: answer,
    thinking: '',
    answer,
    finishReason: 'stop',
    tokens: 10,
    promptTokens: { base: 5, instructed: 9 },
    seed: 1,
    a: null,
    trace: null,
    ...more,
  };
}

const trace = (js: (number | null)[], temperature: number[]) => ({
  text: js.map(() => 'x'),
  js,
  temperature,
  logpBase: js,
  logpInstructed: js,
  logp: js,
});

function verdict(winner: Verdict['winner'], method: number, base: number): Verdict {
  return { winner, method, base, consistent: true, judge: 'judge', model: 'm' };
}

const score = (value: number): Score => ({
  score: value,
  a: 0.1,
  evaluator: 'openai',
  model: 'gpt-4.1',
  rawAnswer: null,
});

function byItem<T>(...rows: Row<T>[]): Map<string, Row<T>> {
  return new Map(rows.map((row) => [row.item, row]));
}

/** Item c's base response is gibberish, d's score failed, e is not judged yet. */
function run(more: Partial<RunData> = {}): RunData {
  const base = ids.map((id) =>
    doneRow(id, response(id === 'c' ? GIBBERISH : 'One two three four.')),
  );
  const sda = [
    doneRow('a', response('One two.', { trace: trace([0.1, 0.3], [0.4, 0.2]) })),
    doneRow(
      'b',
      response('One.', { trace: trace([null, 0.2], [0.6, 0.6]), finishReason: 'length' }),
    ),
    doneRow('c', response('One two three.', { tokens: 40 })),
    failedRow('d', { kind: 'no-score', reason: 'none' }),
    doneRow('e', response('Late.')),
  ];
  return {
    dir: 'runs/small',
    header: HEADER,
    sessions: [],
    items: ids.map((id): Item => ({ id, query: id, labels: {} })),
    responses: new Map<Method, Map<string, Row<Response>>>([
      ['base', byItem(...base)],
      ['sda', byItem(...sda)],
    ]),
    scores: byItem(
      doneRow('a', score(20)),
      doneRow('b', score(40)),
      doneRow('c', score(90)),
      failedRow('d', { kind: 'refused', reason: 'none' }),
      doneRow('e', score(50)),
    ),
    verdicts: new Map([
      [
        'sda' as Method,
        byItem(
          doneRow('a', verdict('method', 80, 20)),
          doneRow('b', verdict('tie', 51, 50)),
          doneRow('c', verdict('base', 10, 90)),
          failedRow('d', { kind: 'no-score', reason: 'none' }),
        ),
      ],
    ]),
    ...more,
  };
}

describe('the summary of a run', () => {
  test('counts verdicts, failures apart, and what is not judged yet', () => {
    const [sda] = summarizeRun(run()).comparisons;
    expect(sda).toMatchObject({
      method: 'sda',
      full: { judged: 3, wins: 1, losses: 1, ties: 1, failures: { 'no-score': 1 } },
      pending: 1,
    });
  });

  test('drops items with a gibberish base response from the refined set, and names them', () => {
    const summary = summarizeRun(run());
    expect(summary.dropped).toEqual([{ item: 'c', reason: 'it repeats itself to the end' }]);
    expect(summary.comparisons[0]!.refined).toMatchObject({
      judged: 2,
      wins: 1,
      losses: 0,
      ties: 1,
    });
  });

  test('has mean lengths of both sides over the judged pairs', () => {
    expect(summarizeRun(run()).comparisons[0]!.words).toEqual({ method: 2, base: 16 });
  });

  test('describes scores and responses', () => {
    const { scores, responses, items } = summarizeRun(run());
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
    expect(summarizeRun(run()).complete).toBe(false);
    const whole = run();
    const verdicts = new Map(whole.verdicts);
    verdicts.set(
      'sda',
      new Map([...whole.verdicts.get('sda')!, ['e', doneRow('e', verdict('tie', 1, 1))]]),
    );
    expect(summarizeRun({ ...whole, verdicts }).complete).toBe(true);
  });

  test('of a run that has just begun has no numbers', () => {
    const empty = { responses: new Map(), scores: new Map(), verdicts: new Map() };
    expect(summarizeRun(run(empty))).toMatchObject({
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

describe('the table', () => {
  const table = (format: 'text' | 'markdown' | 'csv', data = run()) =>
    resultsTable([{ run: data, summary: summarizeRun(data) }], format);

  test('has the same numbers as text, Markdown and CSV', () => {
    const text = table('text').split('\n')[1]!;
    for (const part of ['sda', 'full', ' 3 ', '0.0 [-100.0, 100.0]', '1/1/1', '2:16']) {
      expect(text).toContain(part);
    }
    expect(table('markdown')).toContain('| 0.0 [-100.0, 100.0] | 1/1/1 |');
    const [heading, full] = table('csv').split('\r\n');
    expect(full!.split(',').length).toBe(heading!.split(',').length + 1); // the model's name has a comma
    expect(full).toContain('full,3,0.0,-100.0,100.0,1,1,1,50.0,');
  });

  test('quotes CSV as RFC 4180 does, and escapes Markdown', () => {
    expect(table('csv')).toContain('"tiny, ""quoted""",plain,');
    expect(table('markdown')).toContain('openai a\\|b');
  });

  test('marks what a stand-in judged', () => {
    const data = run({ header: { ...HEADER, judge: 'stand-in', standIn: true } });
    expect(table('text', data)).toContain('stand-in (no results)');
  });

  test('has columns that line up', () => {
    const lines = table('text').split('\n');
    const column = lines[0]!.indexOf('method');
    expect(lines.slice(1).every((line) => line.startsWith('sda', column))).toBe(true);
  });
});
