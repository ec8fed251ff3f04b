import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type {
  Item,
  Method,
  Response,
  Row,
  RunData,
  RunHeader,
  Score,
  TokenTrace,
  Verdict,
} from '../../src/experiment/rows.js';
import { doneRow, failedRow } from '../../src/experiment/stages.js';

/** Texts that a careless page would choke on. */
export const AWKWARD = [
  '</script><script>document.title = "broken"</script>',
  '<img src=x onerror="document.title = `broken`"> & <!-- <b>bold</b>',
  'a line separator\u2028and a paragraph separator\u2029in one',
  'a lone surrogate \ud83d here',
  'مرحبا بكم في هذا الاختبار',
  '東京の天気は晴れです。👩‍👩‍👧 ok',
  '',
];

export interface MadeUpRun {
  readonly items: number;
  readonly tokens?: number;
  readonly methods?: readonly Method[];
  readonly name?: string;
  readonly header?: Partial<RunHeader>;
}

/** A run of made-up numbers, the same for the same arguments: wins, ties, losses, failures, awkward texts. */
export function madeUpRun({
  items: count,
  tokens = 12,
  methods = ['base', 'instructed', 'sda'],
  name = 'made-up',
  header = {},
}: MadeUpRun): RunData {
  let state = 1;
  const random = () => {
    state = (state * 48271) % 2147483647;
    return state / 2147483647;
  };
  const items = Array.from(
    { length: count },
    (_, i): Item => ({
      id: `item-${i}`,
      query: i < AWKWARD.length ? `${i}: ${AWKWARD[i]}` : `Question number ${i}?`,
      labels: { topic: ['garden', 'kitchen', 'travel'][i % 3]! },
    }),
  );
  const response = (i: number, method: Method): Row<Response> => {
    if (i % 17 === 16 && method !== 'base') {
      return failedRow(`item-${i}`, { kind: 'unfinished-thinking', reason: 'It thought on.' });
    }
    const words = i < AWKWARD.length ? [AWKWARD[i]!] : [];
    while (words.length < tokens) words.push(` word${Math.floor(random() * 900)}`);
    const numbers = (scale: number) => words.map(() => Number((scale * random()).toPrecision(4)));
    const trace: TokenTrace = {
      text: words,
      js: numbers(0.6),
      temperature: numbers(0.6),
      logpBase: numbers(-6),
      logpInstructed: numbers(-6).map((value, at) => (at === 3 ? null : value)),
      logp: numbers(-4),
    };
    return doneRow(`item-${i}`, {
      text: words.join(''),
      thinking: i % 5 === 4 ? 'Let me think.' : '',
      answer: words.join(''),
      finishReason: i % 3 === 0 ? 'length' : 'stop',
      tokens,
      promptTokens: { base: 10, instructed: 30 },
      seed: i,
      a: method === 'sda' ? 0.3 : null,
      trace,
    });
  };
  const score = (i: number): Row<Score> =>
    i % 11 === 10
      ? failedRow(`item-${i}`, { kind: 'refused', reason: 'The model declines to judge.' })
      : doneRow(`item-${i}`, {
          score: Math.round(1000 * random()) / 10,
          a: 0.3,
          evaluator: 'openai',
          model: 'gpt-4.1',
          rawAnswer: null,
        });
  const verdict = (i: number): Row<Verdict> => {
    if (i % 13 === 12) {
      return failedRow(`item-${i}`, { kind: 'unreachable', reason: 'The server is down.' });
    }
    const winner = (['method', 'base', 'tie', 'method'] as const)[i % 4]!;
    const base = 20 + 40 * random();
    const method = base + { method: 20, base: -15, tie: 0 }[winner];
    return doneRow(`item-${i}`, {
      winner,
      method,
      base,
      consistent: winner !== 'tie',
      judge: 'judge',
      model: 'gpt-4.1',
    });
  };
  const rows = <T>(make: (i: number) => Row<T>) =>
    new Map(items.map(({ id }, i) => [id, make(i)] as const));
  const compared = methods.filter((method) => method !== 'base');
  return {
    dir: `runs/${name}`,
    header: {
      schema: 1,
      name,
      config: { decoding: { k: 2 } },
      configHash: 'made up',
      model: { name: 'tiny-llama', dtype: 'auto', fingerprint: '0123456789abcdef' },
      dataSet: { name: 'questions', items: count, sha256: 'made up' },
      core: 'helpfulness',
      instruction: 'Be <useful>.',
      methods,
      evaluator: 'openai gpt-4.1',
      judge: 'openai gpt-4.1',
      standIn: false,
      seed: 7,
      ...header,
    },
    sessions: [
      {
        at: '2026-01-01T00:00:00.000Z',
        versions: { sdaTfjs: '0.1.0', node: '20.0.0' },
        machine: 'a machine',
        git: null,
        options: {},
      },
    ],
    items,
    responses: new Map(methods.map((method) => [method, rows((i) => response(i, method))])),
    scores: rows(score),
    verdicts: new Map(compared.map((method) => [method, rows(verdict)])),
  };
}

/** Writes a run as `sda run` leaves it. */
export function writeRun(dir: string, run: RunData): void {
  mkdirSync(join(dir, 'rows'), { recursive: true });
  const lines = (values: Iterable<unknown>) =>
    [...values].map((value) => `${JSON.stringify(value)}\n`).join('');
  writeFileSync(join(dir, 'run.json'), JSON.stringify(run.header));
  writeFileSync(join(dir, 'items.jsonl'), lines(run.items));
  writeFileSync(join(dir, 'sessions.jsonl'), lines(run.sessions));
  const stage = (name: string, rows: ReadonlyMap<string, unknown>) =>
    writeFileSync(join(dir, 'rows', `${name}.jsonl`), lines(rows.values()));
  for (const [method, rows] of run.responses) stage(`respond-${method}`, rows);
  for (const [method, rows] of run.verdicts) stage(`judge-${method}`, rows);
  stage('score', run.scores);
}
