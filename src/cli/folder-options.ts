import { InvalidArgumentError } from 'commander';
import { formatBytes } from '../setup/report.js';

// What the commands share that make a model folder.

const BAR_WIDTH = 20;

/** Such as `[########------------] 5.4 GB of 13.5 GB`. */
export function bar(done: number, total: number): string {
  const full = Math.floor((BAR_WIDTH * done) / total);
  const drawn = '#'.repeat(full) + '-'.repeat(BAR_WIDTH - full);
  return `[${drawn}] ${formatBytes(done)} of ${formatBytes(total)}`;
}

/** A path as a shell takes it. */
export function quoted(path: string): string {
  return /^[\w./-]+$/.test(path) ? path : `'${path.replaceAll("'", "'\\''")}'`;
}

const UNITS: Readonly<Record<string, number>> = { '': 1, B: 1, KB: 1e3, MB: 1e6, GB: 1e9 };

/** Parses `500MB`, `5GB` or a number of bytes. */
export function bytes(text: string): number {
  const [, number, unit = ''] = /^(\d+(?:\.\d+)?)\s*([KMG]?B)?$/i.exec(text) ?? [];
  const size = Number(number) * (UNITS[unit.toUpperCase()] ?? Number.NaN);
  if (size >= 1) return Math.floor(size);
  throw new InvalidArgumentError('Expected a size such as 500MB or 5GB.');
}
