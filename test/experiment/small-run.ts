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

const GIBBERISH = 'yes '.repeat(40);
const ids = ['a', 'b', 'c', 'd', 'e'];

export const HEADER: RunHeader = {
  schema: 1,
  name: 'small',
  config: {},
  configHash: 'x',
  model: { name: 'tiny, "quoted"', dtype: 'auto', fingerprint: 'f' },
  dataSet: { name: 'plain', items: ids.length, sha256: 's' },
  core: 'empathy',
  instruction: 'Be kind.',
  methods: ['base', 'sda'],
  comparisons: [{ method: 'sda', against: 'base' }],
  evaluator: 'openai gpt-4.1',
  judge: 'openai a|b',
  standIn: false,
  seed: 3,
};

export function response(answer: string, more: Partial<Response> = {}): Response {
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

export function verdict(winner: Verdict['winner'], method: number, base: number): Verdict {
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

/** A run of base and SDA: item c's base response is gibberish, d's score failed, e is not judged yet. */
export function smallRun(more: Partial<RunData> = {}): RunData {
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
