import type { Estimate, WinRates } from '../evaluate/win-rates.js';
import type { RunData } from './rows.js';
import type { RunSummary } from './summary.js';

/** A run with its numbers. */
export interface SummarizedRun {
  readonly run: RunData;
  readonly summary: RunSummary;
}

export const TABLE_FORMATS = ['text', 'markdown', 'csv'] as const;
export type TableFormat = (typeof TABLE_FORMATS)[number];

const COLUMNS = [
  'model',
  'data set',
  'core',
  'method',
  'set',
  'n',
  'win rate %',
  '95% low',
  '95% high',
  'wins',
  'losses',
  'ties',
  'ties as half %',
  'approx. %',
  'sign test p',
  'failed',
  'pending',
  'words',
  'base words',
  'judge',
  'seed',
] as const;

/** Columns that hold text. */
const TEXT_COLUMNS = new Set<string>(['model', 'data set', 'core', 'method', 'set', 'judge']);

/**
 * The results of several runs as the paper shows them, a line for each run, method and set: the win rate of eq 9 in
 * percent with its 95% interval, counts, and what failed. The set "refined" leaves out items whose base response is
 * gibberish.
 */
export function resultsTable(runs: readonly SummarizedRun[], format: TableFormat = 'text'): string {
  const rows = runs.flatMap(linesOf);
  if (format === 'csv') return csv([COLUMNS, ...rows]);
  if (format === 'markdown') return markdown(rows);
  return aligned([COLUMNS, ...rows]);
}

function linesOf({ run: { header }, summary }: SummarizedRun): string[][] {
  const judge = `${header.judge ?? 'none'}${header.standIn ? ' (NOT RESULTS)' : ''}`;
  return summary.comparisons.flatMap(({ method, full, refined, pending, words }) =>
    (
      [
        ['full', full],
        ['refined', refined],
      ] as const
    ).map(([set, rates]) => [
      header.model.name,
      header.dataSet.name,
      header.core,
      method,
      set,
      String(rates.judged),
      ...estimate(rates.winRate),
      String(rates.wins),
      String(rates.losses),
      String(rates.ties),
      percent(rates.tiesAsHalf?.value),
      percent(rates.approximate.winRate),
      rates.signTestP === null ? '-' : rates.signTestP.toPrecision(2),
      String(failed(rates)),
      String(pending),
      words.method?.toFixed(0) ?? '-',
      words.base?.toFixed(0) ?? '-',
      judge,
      String(header.seed),
    ]),
  );
}

function estimate(rate: Estimate | null): string[] {
  return [percent(rate?.value), percent(rate?.low), percent(rate?.high)];
}

/** With one decimal, as in the paper; "-" where there is none. */
function percent(share: number | null | undefined): string {
  return share == null ? '-' : (100 * share).toFixed(1);
}

function failed({ failures }: WinRates): number {
  return Object.values(failures).reduce((sum, count) => sum + count, 0);
}

function aligned(rows: readonly (readonly string[])[]): string {
  const widths = COLUMNS.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  const cell = (text: string, column: number) =>
    TEXT_COLUMNS.has(COLUMNS[column]!)
      ? text.padEnd(widths[column]!)
      : text.padStart(widths[column]!);
  return rows.map((row) => row.map(cell).join('  ').trimEnd()).join('\n');
}

function markdown(rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) =>
    `| ${cells.map((cell) => cell.replace(/[|\\]/g, '\\$&').replace(/\s+/g, ' ')).join(' | ')} |`;
  const rule = COLUMNS.map((name) => (TEXT_COLUMNS.has(name) ? '---' : '--:'));
  return [line(COLUMNS), line(rule), ...rows.map(line)].join('\n');
}

/** RFC 4180. */
function csv(rows: readonly (readonly string[])[]): string {
  const cell = (text: string) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  return rows.map((row) => row.map(cell).join(',')).join('\r\n');
}
