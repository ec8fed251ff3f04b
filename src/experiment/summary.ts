import { gibberishReason } from '../evaluate/gibberish.js';
import { tally } from '../evaluate/win-rates.js';
import { answeredByAll, type Comparison, compareAll } from './comparisons.js';
import { mean, wordCount } from './measures.js';
import { isSteered } from './method-rules.js';
import type { Method, Response, Row, RunData, Score } from './rows.js';
import { pairingName } from './stages.js';
import { statisticOf } from './traces.js';

/** How many rows failed, by kind. */
export type Failures = Readonly<Record<string, number>>;

/** The scores S of the base responses. */
export interface ScoreSummary {
  readonly count: number;
  readonly mean: number | null;
  readonly median: number | null;
  /** Of the sample, n - 1; null below two scores */
  readonly standardDeviation: number | null;
  readonly failures: Failures;
}

/** Means over the responses of one method, on the items that all methods have answered; null where there is none. */
export interface ResponseSummary {
  readonly method: Method;
  readonly responses: number;
  readonly failures: Failures;
  /** Responses that are left out of the means: another method has none to the query */
  readonly leftOut: number;
  readonly words: number | null;
  readonly tokens: number | null;
  /** Over all tokens of all traces; null where none was kept */
  readonly js: number | null;
  readonly temperature: number | null;
  /** Responses cut at the largest number of tokens, or at the end of the context */
  readonly cut: number;
}

export interface RunSummary {
  readonly items: number;
  /** Items whose base response is gibberish, with the filter's reason; see `GIBBERISH_FILTER` */
  readonly dropped: readonly { readonly item: string; readonly reason: string }[];
  readonly scores: ScoreSummary;
  /** In the order of the run, those with at least one row */
  readonly responses: readonly ResponseSummary[];
  readonly comparisons: readonly Comparison[];
  /** Every item has a row in every stage */
  readonly complete: boolean;
}

/** The numbers of a run, finished or not. */
export function summarizeRun(run: RunData): RunSummary {
  const { items, header, responses, scores } = run;
  const dropped = items.flatMap(({ id }) => {
    const answer = answerOf(responses.get('base')?.get(id));
    const reason = answer === null ? null : gibberishReason(answer);
    return reason === null ? [] : [{ item: id, reason }];
  });
  const droppedIds = new Set(dropped.map(({ item }) => item));
  const answered = answeredByAll(run);
  return {
    items: items.length,
    dropped,
    scores: summarizeScores(scores),
    responses: header.methods.flatMap((method) => {
      const rows = responses.get(method);
      return rows && rows.size > 0 ? [summarizeResponses(method, rows, answered)] : [];
    }),
    comparisons: compareAll(run, droppedIds),
    complete: unfinishedStages(run).length === 0,
  };
}

/** Stages with rows missing, such as "verdicts on sda-vs-steering 3 of 20". */
export function unfinishedStages({
  header,
  items,
  responses,
  scores,
  verdicts,
}: RunData): string[] {
  const scored = header.methods.some((method) => isSteered(method, header.rules?.[method]));
  const sizes: [stage: string, rows: number | undefined][] = [
    ...header.methods.map((method): [string, number | undefined] => [
      `responses of ${method}`,
      responses.get(method)?.size,
    ]),
    ...(scored ? [['scores', scores.size] as [string, number]] : []),
    ...header.comparisons
      .map(pairingName)
      .map((name): [string, number | undefined] => [
        `verdicts on ${name}`,
        verdicts.get(name)?.size,
      ]),
  ];
  return sizes
    .filter(([, rows]) => rows !== items.length)
    .map(([stage, rows = 0]) => `${stage} ${rows} of ${items.length}`);
}

function summarizeResponses(
  method: Method,
  rows: ReadonlyMap<string, Row<Response>>,
  answered: ReadonlySet<string>,
): ResponseSummary {
  const done = valuesOf(new Map([...rows].filter(([item]) => answered.has(item))));
  const responses = valuesOf(rows).length;
  const column = (name: 'js' | 'temperature') =>
    mean(done.flatMap(({ trace }) => statisticOf(trace, name).filter((value) => value !== null)));
  return {
    method,
    responses,
    failures: failuresOf(rows),
    leftOut: responses - done.length,
    words: mean(done.map(({ answer }) => wordCount(answer))),
    tokens: mean(done.map(({ tokens }) => tokens)),
    js: column('js'),
    temperature: column('temperature'),
    cut: done.filter(({ finishReason }) => finishReason !== 'stop').length,
  };
}

function summarizeScores(rows: ReadonlyMap<string, Row<Score>>): ScoreSummary {
  const scores = valuesOf(rows)
    .map(({ score }) => score)
    .sort((a, b) => a - b);
  const average = mean(scores);
  const squares = scores.reduce((sum, score) => sum + (score - average!) ** 2, 0);
  const middle = (scores.length - 1) / 2;
  return {
    count: scores.length,
    mean: average,
    median: mean([scores[Math.floor(middle)], scores[Math.ceil(middle)]].filter(isNumber)),
    standardDeviation: scores.length < 2 ? null : Math.sqrt(squares / (scores.length - 1)),
    failures: failuresOf(rows),
  };
}

function valuesOf<T>(rows: ReadonlyMap<string, Row<T>>): T[] {
  return [...rows.values()].flatMap((row) => (row.status === 'done' ? [row.value] : []));
}

function failuresOf(rows: ReadonlyMap<string, Row<unknown>>): Failures {
  return tally(
    [...rows.values()].flatMap((row) => (row.status === 'failed' ? row.failure.kind : [])),
  );
}

function answerOf(row: Row<Response> | undefined): string | null {
  return row?.status === 'done' ? row.value.answer : null;
}

function isNumber(value: number | undefined): value is number {
  return value !== undefined;
}
