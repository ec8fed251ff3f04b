import type { RuleTrace, TokenTrace } from '../experiment/rows.js';
import { statisticOf } from '../experiment/traces.js';

/**
 * A trace as the page has it: the texts, then a column of numbers after the other, as base64 of little-endian 16-bit
 * integers; NO_NUMBER stands for null. The columns are JS, T, log P1, log P2 and log P' in units of 1 / SDA_SCALES, or
 * those of a rule, which are named, each with its scale.
 */
export type PageTrace = readonly [
  texts: readonly string[],
  numbers: string,
  columns?: readonly (readonly [name: string, scale: number])[],
];
const SDA_SCALES = [1e4, 1e3, 100, 100, 100] as const;
const LARGEST = 32767;
const NO_NUMBER = -32768;

type Column = readonly (number | null)[];

/** Gathers traces, one line each. */
export class Traces {
  readonly lines: string[] = [];
  /** The largest temperature so far */
  hottest = 0;

  /** @returns the number of its line */
  add(trace: TokenTrace | RuleTrace): number {
    for (const value of statisticOf(trace, 'temperature')) {
      this.hottest = Math.max(this.hottest, value ?? 0);
    }
    const line: PageTrace = 'statistics' in trace ? ruleLine(trace) : sdaLine(trace);
    return this.lines.push(JSON.stringify(line)) - 1;
  }
}

function sdaLine({ text, js, temperature, logpBase, logpInstructed, logp }: TokenTrace): PageTrace {
  return [text, packed([js, temperature, logpBase, logpInstructed, logp], SDA_SCALES)];
}

function ruleLine({ text, logp, logps, statistics }: RuleTrace): PageTrace {
  const columns: [name: string, column: Column][] = [
    ...Object.entries(statistics),
    ...Object.entries(logps).map(([stream, column]): [string, Column] => [
      `log P(${stream})`,
      column,
    ]),
    ["log P'", logp],
  ];
  const scales = columns.map(([name, column]) => scaleOf(name, column));
  const numbers = packed(
    columns.map(([, column]) => column),
    scales,
  );
  return [text, numbers, columns.map(([name], index) => [name, scales[index]!] as const)];
}

/** What SDA's columns have, where it holds the column; else, and for other numbers, what just holds the largest. */
function scaleOf(name: string, column: Column): number {
  const usual = name === 'temperature' ? 1e3 : name.startsWith('log P') ? 100 : 1e4;
  const largest = column.reduce<number>((most, value) => Math.max(most, Math.abs(value ?? 0)), 0);
  return largest * usual > LARGEST ? LARGEST / largest : usual;
}

function packed(columns: readonly Column[], scales: readonly number[]): string {
  const [{ length }] = columns as [Column];
  const numbers = Buffer.alloc(2 * columns.length * length);
  columns.forEach((column, index) => {
    column.forEach((value, token) => {
      const units = Math.round((value ?? 0) * scales[index]!);
      const held = Math.max(-LARGEST, Math.min(LARGEST, units));
      numbers.writeInt16LE(value === null ? NO_NUMBER : held, 2 * (index * length + token));
    });
  });
  return numbers.toString('base64');
}
