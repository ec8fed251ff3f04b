import { GIBBERISH_FILTER } from '../evaluate/gibberish.js';
import { answeredByAll, lackingItems } from '../experiment/comparisons.js';
import { wordCount } from '../experiment/measures.js';
import { shownRule } from '../experiment/method-rules.js';
import {
  againstBase,
  type Pairing,
  type Response,
  type Row,
  type RowFailure,
  type RuleTrace,
  type RunData,
  type RunHeader,
  type TokenTrace,
} from '../experiment/rows.js';
import { pairingName } from '../experiment/stages.js';
import { type RunSummary, summarizeRun, unfinishedStages } from '../experiment/summary.js';
import { statisticOf } from '../experiment/traces.js';
import type { Traces } from './page-traces.js';

/** What the page shows, as JSON. Traces are apart: most are never looked at. */
export interface PageData {
  readonly title: string;
  readonly filter: string;
  /** The largest temperature of all traces: the end of its scale */
  readonly hottest: number;
  readonly runs: readonly PageRun[];
}

/** How a quantity runs along the answers of a method: quartiles at each token position. */
export interface Course {
  readonly method: string;
  readonly count: readonly number[];
  /** null where no answer has a finite value */
  readonly js: readonly (Quartiles | null)[];
  readonly temperature: readonly (Quartiles | null)[];
}
export type Quartiles = readonly [low: number, median: number, high: number];

export interface PageRun {
  readonly name: string;
  readonly model: string;
  readonly dataSet: string;
  readonly core: string;
  readonly instruction: string;
  readonly methods: readonly string[];
  /** What can be looked at side by side: each method beside base, and the comparisons of other methods */
  readonly views: readonly PageView[];
  readonly evaluator: string;
  readonly judge: string | null;
  readonly standIn: boolean;
  readonly seed: number;
  /** Name and value, in the order in which they are shown */
  readonly facts: readonly (readonly [string, string])[];
  /** One line each time that work on it began */
  readonly sessions: readonly string[];
  /** Stages with rows missing, one line each */
  readonly unfinished: readonly string[];
  /** Settings as JSON */
  readonly settings: unknown;
  readonly summary: RunSummary | null;
  readonly courses: readonly Course[];
  readonly items: readonly PageItem[];
}

/** Two methods side by side, under the name of their verdicts. */
export interface PageView {
  readonly name: string;
  readonly method: string;
  readonly against: string;
}

export interface PageItem {
  readonly id: string;
  readonly query: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly score: { readonly score: number; readonly a: number } | Failure | null;
  readonly responses: Readonly<Record<string, PageResponse | Failure>>;
  /** By the name of a view */
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
  /** null where it is not known, as in a trace */
  readonly finish: Response['finishReason'] | null;
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
  /** What another comparison lacks here, so that this verdict is in no rate; null where it is */
  readonly leftOut: string | null;
}

/** A run as the page shows it. */
export function pageRun(run: RunData, traces: Traces): PageRun {
  const { header, items, sessions } = run;
  const summary = summarizeRun(run);
  const gibberish = new Map(summary.dropped.map(({ item, reason }) => [item, reason]));
  const unfinished = unfinishedStages(run);
  const lacking = lackingItems(run);
  const answered = answeredByAll(run);
  return {
    name: header.name,
    model: header.model.name,
    dataSet: header.dataSet.name,
    core: header.core,
    instruction: header.instruction,
    methods: header.methods,
    views: viewsOf(header),
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
      ...Object.entries(header.rules ?? {}).map(
        ([method, rule]) => [`Rule ${method}`, shownRule(rule)] as const,
      ),
      ['Evaluator', header.evaluator],
      ['Judge', header.judge ?? 'none'],
      ['Seed', String(header.seed)],
      ['State', unfinished.length === 0 ? 'complete' : `unfinished: ${unfinished.join('; ')}`],
      ['Gibberish', `${summary.dropped.length} base responses (${GIBBERISH_FILTER})`],
    ],
    sessions: sessions.map(({ at, machine, git, versions }) =>
      [
        at,
        machine,
        git === null ? 'no revision known' : `revision ${git}`,
        ...Object.entries(versions).map(([name, version]) => `${name} ${version}`),
      ].join(', '),
    ),
    unfinished,
    settings: header.config,
    summary,
    courses: header.methods.flatMap((method) => {
      const kept = [...(run.responses.get(method)?.values() ?? [])].flatMap((row) =>
        row.status === 'done' && row.value.trace && answered.has(row.item) ? [row.value.trace] : [],
      );
      return courseOf(method, kept) ?? [];
    }),
    items: items.map(({ id, query, labels }) => {
      const score = run.scores.get(id);
      return {
        id,
        query,
        labels,
        score: score ? rowOf(score, (value) => ({ score: value.score, a: value.a })) : null,
        responses: shownOf(run.responses, id, (response) => pageResponse(response, traces)),
        verdicts: shownOf(run.verdicts, id, ({ winner, method, base, consistent }) => {
          const leftOut = lacking.get(id) ?? null;
          return { winner, method, base, consistent, leftOut };
        }),
        gibberish: gibberish.get(id) ?? null,
      };
    }),
  };
}

function viewsOf({ methods, comparisons }: RunHeader): PageView[] {
  const others = comparisons.filter(({ against }) => against !== 'base');
  const pairings: Pairing[] = [...againstBase(methods), ...others];
  if (pairings.length === 0) pairings.push({ method: 'base', against: 'base' });
  return pairings.map((pairing) => ({ name: pairingName(pairing), ...pairing }));
}

/** What each stage of a kind has of one item. */
function shownOf<T, U>(
  stages: ReadonlyMap<string, ReadonlyMap<string, Row<T>>>,
  id: string,
  shown: (value: T) => U,
): Record<string, U | Failure> {
  return Object.fromEntries(
    [...stages].flatMap(([name, rows]) => {
      const row = rows.get(id);
      return row ? [[name, rowOf(row, shown)] as const] : [];
    }),
  );
}

function rowOf<T, U>(row: Row<T>, shown: (value: T) => U): U | Failure {
  if (row.status === 'done') return shown(row.value);
  return { failed: row.failure.kind, reason: row.failure.reason };
}

/** What is shown of a response. */
export type ShownResponse = Pick<Response, 'answer' | 'thinking' | 'tokens' | 'a' | 'trace'> & {
  readonly finishReason: Response['finishReason'] | null;
};

export function pageResponse(
  { answer, thinking, tokens, finishReason, a, trace }: ShownResponse,
  traces: Traces,
): PageResponse {
  const js = statisticOf(trace, 'js').filter((value) => value !== null);
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
  traces: readonly (TokenTrace | RuleTrace)[],
): Course | undefined {
  if (traces.length === 0) return undefined;
  const least = Math.min(LEAST_ANSWERS, traces.length);
  const lengths = traces.map(({ text }) => text.length).sort((a, b) => b - a);
  const positions = Array.from({ length: lengths[least - 1]! }, (_, position) => position);
  const column = (name: 'js' | 'temperature') =>
    positions.map((position) => {
      const values = traces.flatMap((trace) => statisticOf(trace, name)[position] ?? []);
      return values.length === 0 ? null : quartiles(Float64Array.from(values).sort());
    });
  return {
    method,
    count: positions.map((position) => lengths.filter((length) => length > position).length),
    js: column('js'),
    temperature: column('temperature'),
  };
}

/** By linear interpolation, as numpy's percentile. */
function quartiles(sorted: Float64Array): Quartiles {
  const at = (share: number) => {
    const place = share * (sorted.length - 1);
    const low = sorted[Math.floor(place)]!;
    const value = low + (sorted[Math.ceil(place)]! - low) * (place % 1);
    return Number(value.toPrecision(4));
  };
  return [at(0.25), at(0.5), at(0.75)];
}
