import { InvalidArgumentError } from 'commander';
import type { Imported } from '../import/import.js';
import { formatBytes } from '../setup/report.js';
import { warn } from './output.js';
import { LiveLine } from './terminal.js';

// What the commands share that make a model folder.

const BAR_WIDTH = 20;

/** Such as `[########------------] 5.4 GB of 13.5 GB`. */
function bar(done: number, total: number): string {
  const full = Math.floor((BAR_WIDTH * done) / total);
  const drawn = '#'.repeat(full) + '-'.repeat(BAR_WIDTH - full);
  return `[${drawn}] ${formatBytes(done)} of ${formatBytes(total)}`;
}

/** Seconds between two lines of progress where there is no terminal. */
const QUIET_INTERVAL = 30;

/** Makes a folder, shows how far it is, and tells of what its maker warns. */
export async function withProgress(
  verb: string,
  make: (onBytes: (written: number, total: number) => void) => Promise<Imported>,
): Promise<Imported> {
  const live = new LiveLine(QUIET_INTERVAL);
  let made: Imported;
  try {
    made = await make((written, total) => live.show(`${verb} ${bar(written, total)}`));
  } finally {
    live.clear();
  }
  for (const warning of made.warnings) warn(warning);
  return made;
}

/** Where the weights lie: the one file's name, or how many there are. */
export function weightsPlace({ files }: Imported): string {
  const weights = files.filter((name) => name.endsWith('.safetensors')); // not their index
  return weights.length === 1 ? weights[0]! : `${weights.length} files`;
}

/** What the folder can be tried with. */
export function nextCommand(dir: string, { hasTokenizer, hasChatTemplate }: Imported): string {
  const model = quoted(dir);
  if (!hasTokenizer) return `sda logits --model ${model} --ids "1 2 3"`;
  const template = hasChatTemplate ? '' : ' --chat-template NAME'; // a built-in one, or a file
  return `sda generate --model ${model}${template} --query "..."`;
}

/** A path as a shell takes it. */
function quoted(path: string): string {
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
