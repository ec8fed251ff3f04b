import { GIBBERISH_FILTER } from '../evaluate/gibberish.js';
import type { Method, Response, Row, RowFailure, RunData, TokenTrace } from '../experiment/rows.js';
import { type RunSummary, summarizeRun, wordCount } from '../experiment/summary.js';

/** What the page shows, as JSON. Traces are apart: most are never looked at. */
export interface PageData {
  readonly title: string;
  readonly filter: string;
  readonly runs: readonly PageRun[];
}

/** How a quantity runs along the answers of a method: quartiles at each token position. */
export interface Course {
  readonly method: string;
  readonly count: readonly number[];
  readonly js: readonly Quartiles[];
  readonly temperature: readonly Quartiles[];
}
export type Quartiles = readonly [low: number, median: number, high: number];

export interface PageRun {
  readonly name: string;
  readonly model: string;
  readonly dataSet: string;
  readonly core: string;
  readonly instruction: string;
  readonly methods: readonly string[];
  readonly evaluator: string;
  readonly judge: string | null;
  readonly standIn: boolean;
  readonly seed: number;
  /** Name and value, in the order in which they are shown */
  readonly facts: readonly (readonly [string, string])[];
  /** Settings as JSON */
  readonly settings: unknown;
  readonly summary: RunSummary | null;
  readonly courses: readonly Course[];
  readonly items: readonly PageItem[];
}

export interface PageItem {
  readonly id: string;
  readonly query: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly score: { readonly score: number; readonly a: number } | Failure | null;
  readonly responses: Readonly<Record<string, PageResponse | Failure>>;
  readonly verdicts: Readonly<Record<string, PageVerdict | Failure>>;
  /** Why the base response is gibberish, where it is */
  readonly gibberish: string | null;
}

export interface Failure {
  readonly failed: RowFailure['kind'];
  readonly reason: string;
}

export interface PageResponse {
  readonly answer: string;
  readonly thinking: string;
  readonly tokens: number;
  readonly words: number;
  readonly finish: string;
  readonly a: number | null;
  /** Mean JS over the tokens; null without a trace */
  readonly js: number | null;
  /** The line of the page's traces; null where there is none */
  readonly trace: number | null;
}

export interface PageVerdict {
  readonly winner: 'method' | 'base' | 'tie';
  readonly method: number;
  readonly base: number;
  readonly consistent: boolean;
}

/** The columns of a trace as the page has them: texts, then JS, T, log P1, log P2, log P'. */
export type PageTrace = readonly [readonly string[], ...(readonly (number | null)[])[]];

/** Gathers traces, one line each. */
export class Traces {
  readonly lines: string[] = [];

  /** @returns the number of its line */
  add({ text, js, temperature, logpBase, logpInstructed, logp }: TokenTrace): number {
    const short = (digits: number) => (value: number | null) =>
      value === null ? null : Number(value.toFixed(digits));
    const trace: PageTrace = [
      text,
      js.map(short(4)),
      temperature.map(short(3)),
      logpBase.map(short(2)),
      logpInstructed.map(short(2)),
      logp.map(short(2)),
    ];
    return this.lines.push(JSON.stringify(trace)) - 1;
  }
}

/** A run as the page shows it. */
export function pageRun(run: RunData, traces: Traces): PageRun {
  const { header, items, sessions } = run;
  const summary = summarizeRun(run);
  const gibberish = new Map(summary.dropped.map(({ item, reason }) => [item, reason]));
  const versions = Object.entries(sessions.at(-1)?.versions ?? {});
  return {
    name: header.name,
    model: header.model.name,
    dataSet: header.dataSet.name,
    core: header.core,
    instruction: header.instruction,
    methods: header.methods,
    evaluator: header.evaluator,
    judge: header.judge,
    standIn: header.standIn,
    seed: header.seed,
    facts: [
      [
        'Model',
        `${header.model.name} (${header.model.dtype}, fingerprint ${header.model.fingerprint})`,
      ],
      ['Data set', `${header.dataSet.name}, ${header.dataSet.items} queries`],
      ['Core', header.core],
      ['Instruction', header.instruction],
      ['Evaluator', header.evaluator],
      ['Judge', header.judge ?? 'none'],
      ['Seed', String(header.seed)],
      ['State', summary.complete ? 'complete' : 'unfinished: some stages have rows missing'],
      ['Gibberish', `${summary.dropped.length} base responses (${GIBBERISH_FILTER})`],
      ...sessions.map(({ at, machine, git }, index): [string, string] => [
        `Session ${index + 1}`,
        `${at}, ${machine}${git === null ? '' : `, revision ${git}`}`,
      ]),
      ['Versions', versions.map(([name, version]) => `${name} ${version}`).join(', ')],
    ],
    settings: header.config,
    summary,
    courses: header.methods.flatMap((method) => {
      const rows = run.responses.get(method);
      const course = rows && courseOf(method, rows);
      return course ? [course] : [];
    }),
    items: items.map(({ id, query, labels }) => {
      const of = <T, U>(
        stages: ReadonlyMap<Method, ReadonlyMap<string, Row<T>>>,
        shown: (value: T) => U,
      ) =>
        Object.fromEntries(
          header.methods.flatMap((method) => {
            const row = stages.get(method)?.get(id);
            return row ? [[method, rowOf(row, shown)] as const] : [];
          }),
        );
      const score = run.scores.get(id);
      return {
        id,
        query,
        labels,
        score: score ? rowOf(score, (value) => ({ score: value.score, a: value.a })) : null,
        responses: of(run.responses, (response) => pageResponse(response, traces)),
        verdicts: of(run.verdicts, ({ winner, method, base, consistent }) => ({
          winner,
          method,
          base,
          consistent,
        })),
        gibberish: gibberish.get(id) ?? null,
      };
    }),
  };
}

function rowOf<T, U>(row: Row<T>, shown: (value: T) => U): U | Failure {
  if (row.status === 'done') return shown(row.value);
  return { failed: row.failure.kind, reason: row.failure.reason };
}

export function pageResponse(response: Response, traces: Traces): PageResponse {
  const { answer, thinking, tokens, finishReason, a, trace } = response;
  const js = (trace?.js ?? []).filter((value) => value !== null);
  return {
    answer,
    thinking,
    tokens,
    words: wordCount(answer),
    finish: finishReason,
    a,
    js: js.length === 0 ? null : js.reduce((sum, value) => sum + value, 0) / js.length,
    trace: trace ? traces.add(trace) : null,
  };
}

/** Positions are shown as long as at least so many answers reach them, or all of them do. */
const LEAST_ANSWERS = 3;

export function courseOf(
  method: string,
  rows: ReadonlyMap<string, Row<Response>>,
): Course | undefined {
  const traces = [...rows.values()].flatMap((row) =>
    row.status === 'done' && row.value.trace ? [row.value.trace] : [],
  );
  if (traces.length === 0) return undefined;
  const least = Math.min(LEAST_ANSWERS, traces.length);
  const course = { count: [] as number[], js: [] as Quartiles[], temperature: [] as Quartiles[] };
  for (let position = 0; ; position++) {
    const at = (name: 'js' | 'temperature') =>
      traces.flatMap((trace) => trace[name][position] ?? []).sort((a, b) => a - b);
    const [js, temperature] = [at('js'), at('temperature')];
    if (js.length < least) return { method, ...course };
    course.count.push(js.length);
    course.js.push(quartiles(js));
    course.temperature.push(quartiles(temperature));
  }
}

/** By linear interpolation, as numpy's percentile. */
function quartiles(sorted: readonly number[]): Quartiles {
  const at = (share: number) => {
    const place = share * (sorted.length - 1);
    const low = sorted[Math.floor(place)]!;
    const value = low + (sorted[Math.ceil(place)]! - low) * (place % 1);
    return Number(value.toPrecision(4));
  };
  return [at(0.25), at(0.5), at(0.75)];
}
