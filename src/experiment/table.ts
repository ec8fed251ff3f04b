import { GIBBERISH_FILTER } from '../evaluate/gibberish.js';
import type { Estimate, WinRates } from '../evaluate/win-rates.js';
import { shownSettings } from '../generate/shown-settings.js';
import { alignColumns } from '../text/columns.js';
import type { Comparison } from './comparisons.js';
import { shownRule } from './method-rules.js';
import type { Method, RunData } from './rows.js';
import type { RunSummary } from './summary.js';

/** A run with its numbers. */
export interface SummarizedRun {
  readonly run: RunData;
  readonly summary: RunSummary;
}

export const TABLE_FORMATS = ['text', 'markdown', 'csv'] as const;
export type TableFormat = (typeof TABLE_FORMATS)[number];

/** A column: its heading, and its cell for one set of one comparison. */
interface Column {
  readonly name: string;
  readonly text?: boolean;
  readonly cell: (line: Line) => string;
  /** Left out of text and Markdown unless this holds of its cells in all lines */
  readonly telling?: (cells: readonly string[], lines: readonly Line[]) => boolean;
}

interface Line extends SummarizedRun {
  readonly comparison: Comparison;
  readonly set: 'full' | 'refined';
  readonly rates: WinRates;
}

const differ = (cells: readonly string[]) => new Set(cells).size > 1;

const RUN: Column = {
  name: 'run',
  text: true,
  cell: ({ run }) => run.header.name,
  telling: (_, lines) =>
    new Set(lines.map((line) => NAMES.map(({ cell }) => cell(line)).join('\n'))).size <
    lines.length,
};

/** Tell lines apart, but for runs with other settings. */
const NAMES: readonly Column[] = [
  { name: 'model', text: true, cell: ({ run }) => run.header.model.name },
  { name: 'data set', text: true, cell: ({ run }) => run.header.dataSet.name },
  { name: 'core', text: true, cell: ({ run }) => run.header.core },
  { name: 'method', text: true, cell: ({ comparison }) => comparison.method },
  {
    name: 'rule',
    text: true,
    cell: ({ run, comparison }) => ruleOf(run, comparison.method),
    telling: (cells) => cells.some((cell) => cell !== ''),
  },
  {
    name: 'against',
    text: true,
    cell: ({ comparison }) => comparison.against,
    telling: (cells) => cells.some((cell) => cell !== 'base'),
  },
  { name: 'set', text: true, cell: ({ set }) => set },
];

const WHAT: readonly Column[] = [
  RUN,
  ...NAMES,
  { name: 'n', cell: ({ rates }) => String(rates.judged) },
];

/** Judged pairs whose item another comparison has no verdict on */
const LEFT_OUT: Column = {
  name: 'left out',
  cell: ({ rates }) => String(sum(rates.leftOut)),
  telling: (cells) => cells.some((cell) => cell !== '0'),
};

const PENDING: Column = {
  name: 'pending',
  cell: ({ comparison }) => String(comparison.pending),
  telling: (cells) => cells.some((cell) => cell !== '0'),
};

const SEED: Column = {
  name: 'seed',
  cell: ({ run }) => String(run.header.seed),
  telling: differ,
};

const EVALUATOR: Column = {
  name: 'evaluator',
  text: true,
  cell: ({ run }) => run.header.evaluator,
  telling: differ,
};

/** What fits a terminal and a page. */
const SHORT: readonly Column[] = [
  ...WHAT,
  { name: 'win rate % [95%]', cell: ({ rates }) => withInterval(rates.winRate) },
  { name: 'W/T/L', cell: ({ rates }) => `${rates.wins}/${rates.ties}/${rates.losses}` },
  { name: 'approx. %', cell: ({ rates }) => percent(rates.approximate.winRate) },
  { name: 'failed', cell: ({ rates }) => String(sum(rates.failures)) },
  LEFT_OUT,
  {
    name: 'words',
    cell: ({ comparison: { words } }) => `${whole(words.method)}:${whole(words.base)}`,
  },
  PENDING,
  SEED,
  EVALUATOR,
  { name: 'judge', text: true, cell: ({ run }) => judgeOf(run) },
];

const LONG: readonly Column[] = [
  ...WHAT,
  { name: 'win rate %', cell: ({ rates }) => percent(rates.winRate?.value) },
  { name: 'win rate low', cell: ({ rates }) => percent(rates.winRate?.low) },
  { name: 'win rate high', cell: ({ rates }) => percent(rates.winRate?.high) },
  { name: 'wins', cell: ({ rates }) => String(rates.wins) },
  { name: 'ties', cell: ({ rates }) => String(rates.ties) },
  { name: 'losses', cell: ({ rates }) => String(rates.losses) },
  { name: 'ties as half %', cell: ({ rates }) => percent(rates.tiesAsHalf?.value) },
  { name: 'ties as half low', cell: ({ rates }) => percent(rates.tiesAsHalf?.low) },
  { name: 'ties as half high', cell: ({ rates }) => percent(rates.tiesAsHalf?.high) },
  { name: 'wins %', cell: ({ rates }) => percent(rates.winShare?.value) },
  { name: 'wins low', cell: ({ rates }) => percent(rates.winShare?.low) },
  { name: 'wins high', cell: ({ rates }) => percent(rates.winShare?.high) },
  { name: 'approximate wins', cell: ({ rates }) => String(rates.approximate.wins) },
  { name: 'approximate ties', cell: ({ rates }) => String(rates.approximate.ties) },
  { name: 'approximate losses', cell: ({ rates }) => String(rates.approximate.losses) },
  { name: 'approximate win rate %', cell: ({ rates }) => percent(rates.approximate.winRate) },
  { name: 'sign test p', cell: ({ rates }) => rates.signTestP?.toPrecision(3) ?? '-' },
  { name: 'failed', cell: ({ rates }) => String(sum(rates.failures)) },
  LEFT_OUT,
  { name: 'left out for', text: true, cell: ({ rates }) => reasons(rates.leftOut) },
  PENDING,
  { name: 'words', cell: ({ comparison }) => whole(comparison.words.method) },
  { name: 'words against', cell: ({ comparison }) => whole(comparison.words.base) },
  { name: 'tokens', cell: ({ comparison }) => whole(comparison.tokens.method) },
  { name: 'tokens against', cell: ({ comparison }) => whole(comparison.tokens.base) },
  EVALUATOR,
  { name: 'judge', text: true, cell: ({ run }) => judgeOf(run) },
  SEED,
  { name: 'dropped', cell: ({ summary }) => String(summary.dropped.length) },
  { name: 'filter', text: true, cell: () => GIBBERISH_FILTER },
  { name: 'configuration', text: true, cell: ({ run }) => run.header.configHash },
  {
    name: 'settings',
    text: true,
    cell: ({ run, comparison }) => settingsOf(run, comparison.method),
  },
];

/**
 * The results of several runs as the paper shows them, a line for each run, method and set: the win rate of eq 9 in
 * percent with its 95% interval, and counts, over the items that all comparisons of a run have a verdict on. The set
 * "refined" leaves out items whose base response is gibberish. `csv` has every number; the others show the run, its
 * seed, its evaluator, the other side, and pairs that are left out or pending only where they tell lines apart or warn.
 */
export function resultsTable(runs: readonly SummarizedRun[], format: TableFormat = 'text'): string {
  const lines = runs.flatMap((each) =>
    each.summary.comparisons.flatMap((comparison): Line[] =>
      (['full', 'refined'] as const).map((set) => ({
        ...each,
        comparison,
        set,
        rates: comparison[set],
      })),
    ),
  );
  const columns = (format === 'csv' ? LONG : SHORT).filter(
    ({ cell, telling }) => format === 'csv' || !telling || telling(lines.map(cell), lines),
  );
  const rows = lines.map((line) => columns.map(({ cell }) => cell(line)));
  if (format === 'csv') return csv([columns.map(({ name }) => name), ...rows]);
  return (format === 'markdown' ? markdown : aligned)(columns, rows);
}

function judgeOf({ header }: RunData): string {
  return `${header.judge ?? 'none'}${header.standIn ? ' (no results)' : ''}`;
}

/** Such as "cfg: weight 1.5"; '' of a method that is no rule. */
function ruleOf({ header }: RunData, method: Method): string {
  const rule = header.rules?.[method];
  return rule ? shownRule(rule) : '';
}

/** All settings of a rule. */
function settingsOf({ header }: RunData, method: Method): string {
  return shownSettings(header.rules?.[method]?.settings ?? {});
}

/** Such as "12.5 [-3.1, 28.0]". */
function withInterval(rate: Estimate | null): string {
  return rate ? `${percent(rate.value)} [${percent(rate.low)}, ${percent(rate.high)}]` : '-';
}

function whole(value: number | null): string {
  return value?.toFixed(0) ?? '-';
}

/** With one decimal, as in the paper; "-" where there is none. */
function percent(share: number | null | undefined): string {
  return share == null ? '-' : (100 * share).toFixed(1).replace(/^-0\.0$/, '0.0');
}

function sum(counts: WinRates['failures']): number {
  return Object.values(counts).reduce((total, count) => total + count, 0);
}

/** Such as "3 no-score of steering; 1 pending of sda". */
function reasons(counts: WinRates['failures']): string {
  return Object.entries(counts)
    .map(([reason, count]) => `${count} ${reason}`)
    .join('; ');
}

function aligned(columns: readonly Column[], rows: readonly (readonly string[])[]): string {
  // Names come from files: no line break or control character reaches the terminal
  const lines = rows.map((row) => row.map((cell) => cell.replace(/[\p{Cc}\s]+/gu, ' ')));
  const numbers = columns.flatMap(({ text }, column) => (text ? [] : [column]));
  return alignColumns([columns.map(({ name }) => name), ...lines], numbers).join('\n');
}

function markdown(columns: readonly Column[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) =>
    `| ${cells.map((cell) => cell.replace(/[|\\]/g, '\\$&').replace(/\s+/g, ' ')).join(' | ')} |`;
  const names = columns.map(({ name }) => name);
  const rule = columns.map(({ text }) => (text ? '---' : '--:'));
  return [line(names), line(rule), ...rows.map(line)].join('\n');
}

/** RFC 4180. */
function csv(rows: readonly (readonly string[])[]): string {
  const cell = (text: string) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  return rows.map((row) => row.map(cell).join(',')).join('\r\n');
}
