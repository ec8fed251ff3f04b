import { gibberishReason } from '../evaluate/gibberish.js';
import { type JudgedPair, type WinRates, winRates } from '../evaluate/win-rates.js';
import type { Method, Response, Row, RunData, Score } from './rows.js';

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

/** Means over responses; null where there is none. */
export interface ResponseSummary {
  readonly method: Method;
  readonly responses: number;
  readonly failures: Failures;
  readonly words: number | null;
  readonly tokens: number | null;
  /** Over all tokens of all traces; null where none was kept */
  readonly js: number | null;
  readonly temperature: number | null;
  /** Responses cut at the largest number of tokens, or at the end of the context */
  readonly cut: number;
}

export interface Lengths {
  readonly method: number | null;
  readonly base: number | null;
}

/** One method against the base model. */
export interface Comparison {
  readonly method: Method;
  /** Over all items with a verdict or a failed one */
  readonly full: WinRates;
  /** Without the items whose base response is gibberish */
  readonly refined: WinRates;
  /** Items without a row yet */
  readonly pending: number;
  /** Mean lengths of both sides in words, over the judged pairs; null where there is none */
  readonly words: Lengths;
  /** Likewise in tokens, thinking included; a correction counts the tokens of the model that corrects */
  readonly tokens: Lengths;
}

export interface RunSummary {
  readonly items: number;
  /** Items whose base response is gibberish, with the filter's reason; see `GIBBERISH_FILTER` */
  readonly dropped: readonly { readonly item: string; readonly reason: string }[];
  readonly scores: ScoreSummary;
  /** In the order of METHODS, those with at least one row */
  readonly responses: readonly ResponseSummary[];
  readonly comparisons: readonly Comparison[];
  /** Every item has a row in every stage */
  readonly complete: boolean;
}

/** The numbers of a run, finished or not. */
export function summarizeRun(run: RunData): RunSummary {
  const { items, header, responses, scores, verdicts } = run;
  const dropped = items.flatMap(({ id }) => {
    const answer = answerOf(responses.get('base')?.get(id));
    const reason = answer === null ? null : gibberishReason(answer);
    return reason === null ? [] : [{ item: id, reason }];
  });
  const droppedIds = new Set(dropped.map(({ item }) => item));
  const compared = header.methods.filter((method) => method !== 'base');
  const comparisons = compared
    .filter((method) => verdicts.has(method))
    .map((method) => compare(run, method, droppedIds));
  const stages = [
    ...header.methods.map((method) => responses.get(method)),
    ...(header.judge === null ? [] : compared.map((method) => verdicts.get(method))),
    ...(compared.some((method) => method === 'sda' || method === 'steering') ? [scores] : []),
  ];
  return {
    items: items.length,
    dropped,
    scores: summarizeScores(scores),
    responses: header.methods.flatMap((method) => {
      const rows = responses.get(method);
      return rows && rows.size > 0 ? [summarizeResponses(method, rows)] : [];
    }),
    comparisons,
    complete: stages.every((rows) => rows?.size === items.length),
  };
}

function compare(run: RunData, method: Method, dropped: ReadonlySet<string>): Comparison {
  const rows = run.verdicts.get(method)!;
  const judged: string[] = [];
  const pairs: JudgedPair[] = [];
  for (const { id } of run.items) {
    const row = rows.get(id);
    if (!row) continue;
    if (row.status === 'failed') {
      pairs.push({ status: 'failed', item: id, kind: row.failure.kind });
      continue;
    }
    const { winner, method: ours, base } = row.value;
    pairs.push({ status: 'judged', item: id, winner, method: ours, base });
    judged.push(id);
  }
  const lengths = (length: (response: Response) => number): Lengths => {
    const ofSide = (side: Method) =>
      mean(
        judged.flatMap((id) => {
          const response = run.responses.get(side)?.get(id);
          return response?.status === 'done' ? [length(response.value)] : [];
        }),
      );
    return { method: ofSide(method), base: ofSide('base') };
  };
  return {
    method,
    full: winRates(pairs),
    refined: winRates(pairs.filter(({ item }) => !dropped.has(item))),
    pending: run.items.length - pairs.length,
    words: lengths(({ answer }) => wordCount(answer)),
    tokens: lengths(({ tokens }) => tokens),
  };
}

function summarizeResponses(
  method: Method,
  rows: ReadonlyMap<string, Row<Response>>,
): ResponseSummary {
  const done = valuesOf(rows);
  const column = (name: 'js' | 'temperature') =>
    mean(done.flatMap(({ trace }) => (trace?.[name] ?? []).filter((value) => value !== null)));
  return {
    method,
    responses: done.length,
    failures: failuresOf(rows),
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
  const counts: Record<string, number> = {};
  for (const row of rows.values()) {
    if (row.status !== 'failed') continue;
    counts[row.failure.kind] = (counts[row.failure.kind] ?? 0) + 1;
  }
  return counts;
}

function answerOf(row: Row<Response> | undefined): string | null {
  return row?.status === 'done' ? row.value.answer : null;
}

/** Runs of letters, digits and apostrophes; each character of a script without spaces counts. */
export function wordCount(text: string): number {
  const words = /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}]|[\p{L}\p{N}\p{M}'’]+/gu;
  return text.match(words)?.length ?? 0;
}

function mean(values: readonly number[]): number | null {
  return values.length === 0 ? null : values.reduce((sum, value) => sum + value, 0) / values.length;
}

function isNumber(value: number | undefined): value is number {
  return value !== undefined;
}
