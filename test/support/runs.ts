import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  againstBase,
  type Item,
  type Method,
  type Pairing,
  type Response,
  type Row,
  type RunData,
  type RunHeader,
  type Score,
  type TokenTrace,
  type Verdict,
} from '../../src/experiment/rows.js';
import { doneRow, failedRow, judgeStage, pairingName } from '../../src/experiment/stages.js';

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
  /** Comparisons beside those against base */
  readonly against?: readonly Pairing[];
  readonly name?: string;
  readonly seed?: number;
  readonly header?: Partial<RunHeader>;
}

/** Outcomes against base, in turn. */
const OUTCOMES: Partial<Record<Method, readonly Verdict['winner'][]>> = {
  instructed: ['base', 'method', 'base', 'tie', 'method'],
  steering: ['method', 'tie', 'tie', 'base', 'method', 'method'],
  scaling: ['tie', 'base', 'tie', 'method', 'tie'],
};
const SDA_OUTCOMES = ['method', 'base', 'tie', 'method'] as const;

/**
 * A run of made-up numbers, the same for the same arguments: wins, ties, losses, failures, thinking, awkward texts,
 * an empty answer (item 7) and a long one (item 8).
 */
export function madeUpRun({
  items: count,
  tokens = 12,
  methods = ['base', 'instructed', 'sda'],
  against = [],
  name = 'made-up',
  seed = 1,
  header = {},
}: MadeUpRun): RunData {
  let state = seed;
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
    const length = i === 7 ? 0 : i === 8 ? 20 * tokens : tokens;
    while (words.length < length) words.push(` word${Math.floor(random() * 900)}`);
    const thought = i % 5 === 4 ? ['<think>', 'Let me', ' think.', '</think>\n\n'] : [];
    const text = [...thought, ...words, ''];
    return doneRow(`item-${i}`, {
      text: text.join(''),
      thinking: thought.slice(1, -1).join(''),
      answer: words.join(''),
      finishReason: i % 3 === 0 ? 'length' : 'stop',
      tokens: text.length,
      promptTokens: { base: 10, instructed: 30 },
      seed: i,
      a: method === 'sda' ? 0.3 : null,
      trace: trace(text, method),
    });
  };
  const trace = (text: readonly string[], method: Method): TokenTrace => {
    const columns = {
      js: [] as number[],
      temperature: [] as number[],
      logpBase: [] as number[],
      logpInstructed: [] as (number | null)[],
      logp: [] as number[],
    };
    const short = (value: number) => Number(value.toPrecision(4));
    for (const at of text.keys()) {
      const js = 0.6 * random() ** (3 + at / text.length);
      const base = -7 * random() ** 2;
      const instructed = Math.min(-0.001, base + 2 * js * (7 * random() - 2));
      const scaled = method === 'sda' || method === 'scaling';
      columns.js.push(short(js));
      columns.temperature.push(short(scaled ? Math.max(0.2, 0.6 * Math.exp(-8 * js)) : 0.6));
      columns.logpBase.push(short(base));
      columns.logpInstructed.push(at === 3 ? null : short(instructed));
      columns.logp.push(short(instructed / 2));
    }
    return { text, ...columns };
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
  const verdict = (i: number, method: Method): Row<Verdict> => {
    if (i % 17 === 16) {
      return failedRow(`item-${i}`, { kind: 'unfinished-thinking', reason: 'It thought on.' });
    }
    if (i % 13 === 12) {
      return failedRow(`item-${i}`, { kind: 'unreachable', reason: 'The server is down.' });
    }
    const outcomes = OUTCOMES[method] ?? SDA_OUTCOMES;
    const winner = outcomes[i % outcomes.length]!;
    const base = 30 + 40 * random();
    const ours = base + { method: 20, base: -15, tie: 0 }[winner] * (0.5 + random());
    return doneRow(`item-${i}`, {
      winner,
      method: ours,
      base,
      consistent: winner !== 'tie',
      judge: 'judge',
      model: 'gpt-4.1',
    });
  };
  const rows = <T>(make: (i: number) => Row<T>) =>
    new Map(items.map(({ id }, i) => [id, make(i)] as const));
  const pairings = [...againstBase(methods), ...against];
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
      comparisons: pairings,
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
    verdicts: new Map(
      pairings.map((each) => [pairingName(each), rows((i) => verdict(i, each.method))]),
    ),
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
  for (const pairing of run.header.comparisons) {
    const rows = run.verdicts.get(pairingName(pairing));
    if (rows) stage(judgeStage(pairing), rows);
  }
  stage('score', run.scores);
}

/** The trace of a response in the columns of SDA, which it must have. */
export function sdaTraceOf(row: Row<Response>): TokenTrace {
  const trace = row.status === 'done' ? row.value.trace : null;
  if (!trace || !('logpBase' in trace)) throw new Error(`${row.item} has no trace of SDA`);
  return trace;
}
