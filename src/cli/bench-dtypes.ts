import { readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import type { DtypeReport, DtypesReport } from '../bench/dtypes.js';
import type { Environment } from '../bench/environment.js';
import { messageOf, SdaError } from '../errors.js';
import type { SdaModel } from '../index.js';
import { packageRoot } from '../runtime/paths.js';
import { formatBytes } from '../setup/report.js';
import { alignColumns } from '../text/columns.js';
import type { BenchCliOptions } from './bench.js';
import { machineLine, percent, spread } from './bench-format.js';
import { colours } from './colours.js';
import { openModel } from './load.js';
import { loadOptions } from './options.js';
import { note, print, printJson, warn } from './output.js';
import { LiveLine } from './terminal.js';

/** `sda bench --dtypes` and `--kvs`: one checkpoint in several types of weights, keys and values, all of them loaded. */
export async function measureDtypes(
  dir: string,
  options: BenchCliOptions,
  signal: AbortSignal,
): Promise<void> {
  refuseOthers(options);
  const [{ benchDtypes }, { describeEnvironment }, { benchPrompts }] = await Promise.all([
    import('../bench/dtypes.js'),
    import('../bench/environment.js'),
    import('../bench/prompts.js'),
  ]);
  const text = await readText(options.text);
  const { tokens, repeats, promptTokens, greedy = false } = options;
  const models: SdaModel[] = [];
  const live = new LiveLine();
  try {
    const { dtypes = [options.dtype], kvs = [options.kv] } = options;
    for (const dtype of dtypes) {
      for (const kv of kvs) {
        models.push(await openModel(dir, { ...loadOptions(options), dtype, kv, signal }));
      }
    }
    const environment = await describeEnvironment();
    const prompts = await benchPrompts(models[0]!, promptTokens);
    note(`measuring ${repeats + 1} rounds, the first of them to warm up`);
    const report = await benchDtypes(models, {
      prompts,
      tokens,
      repeats,
      greedy,
      text: await textIds(models[0]!, text, options.textTokens),
      signal,
      onProgress: (done, total) => live.show(`measuring: run ${done + 1} of ${total}`),
    });
    live.clear();
    if (options.json) {
      const { toSnakeCase } = await import('../bench/report.js');
      printJson(toSnakeCase({ ...environment, model: { dir }, ...report }));
    } else print(table(dir, environment, report));
  } finally {
    live.clear();
    for (const model of models) model.dispose();
  }
}

/** @throws SdaError `usage` */
function refuseOthers({ dtype, dtypes, kv, kvs, chart }: BenchCliOptions): void {
  const list = dtypes ? '--dtypes' : '--kvs';
  const pairs = [
    ['--dtype', '--dtypes', dtypes !== undefined && dtype !== 'auto'],
    ['--kv', '--kvs', kvs !== undefined && kv !== 'float32'],
    ['--chart', list, chart !== undefined],
  ] as const;
  const [one, other] = pairs.find(([, , both]) => both) ?? [];
  if (one === undefined) return;
  throw new SdaError('usage', `${one} and ${other} exclude each other: leave one out.`);
}

/** @throws SdaError `usage` for a file that cannot be read */
async function readText(file = join(packageRoot(), 'README.md')): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    throw new SdaError(
      'usage',
      `--text ${file} cannot be read (${messageOf(error)}): name a file of text.`,
      { cause: error },
    );
  }
}

/** The first tokens of the text; none where the folder has no tokenizer. */
async function textIds(model: SdaModel, text: string, most: number): Promise<readonly number[]> {
  if (most === 0) return [];
  try {
    const tokenizer = await model.tokenizer();
    return tokenizer.encode(text, { addSpecialTokens: false }).slice(0, most);
  } catch (error) {
    if (!(error instanceof SdaError) || error.code !== 'file-missing') throw error;
    warn(`Without a tokenizer there is no text to compare by: ${messageOf(error)}`);
    return [];
  }
}

function table(dir: string, environment: Environment, report: DtypesReport): string {
  const { bold, dim } = colours();
  const { settings, prompts, dtypes, memory } = report;
  const how = settings.greedy ? 'greedy' : `sampled with top-p ${settings.topP}`;
  const header = [
    'dtype',
    'read a step',
    'SDA tokens/s',
    'times',
    'of the limit',
    'against plain',
    'prompts, ms',
  ];
  const [head, ...lines] = alignColumns([header, ...dtypes.map(speedRow)], [1, 2, 3, 4, 5, 6]);
  const bandwidth = memory.bandwidth[memory.probe]!.median / 1e9;
  return `${[
    bold(basename(dir)),
    dim(machineLine(environment)),
    dim(
      `prompts of ${prompts.base} and ${prompts.instructed} tokens, ${settings.tokens} tokens ${how}, ${settings.repeats} rounds in turn; median (p20-p80); the limit is memory at ${bandwidth.toFixed(1)} GB/s`,
    ),
    '',
    bold(head!),
    ...lines,
    ...accuracyTable(dtypes, bold),
  ].join('\n')}\n`;
}

/** Such as `int8`, or `int8, cache bfloat16` where not all caches are of one type. */
function nameOf({ dtype, kv }: DtypeReport, all: readonly DtypeReport[]): string {
  return all.every((other) => other.kv === kv) ? dtype : `${dtype}, cache ${kv}`;
}

function speedRow(report: DtypeReport, _: number, all: readonly DtypeReport[]): string[] {
  const { sda, sdaToPlain, timesFirst } = report;
  return [
    nameOf(report, all),
    formatBytes(sda.bytesPerStep),
    spread(sda.tokensPerSecond, 1),
    timesFirst === null ? '' : `${timesFirst.median.toFixed(2)}x`,
    percent(sda.limitShare),
    `${sdaToPlain.median.toFixed(2)}x`,
    spread(sda.prefillMs, 0),
  ];
}

/** How far each type is from the first; nothing where that was not measured. */
function accuracyTable(
  dtypes: readonly DtypeReport[],
  bold: (text: string) => string,
): readonly string[] {
  const measured = dtypes.flatMap((report) =>
    report.accuracy ? [{ name: nameOf(report, dtypes), accuracy: report.accuracy }] : [],
  );
  if (measured.length === 0) return [];
  const header = [
    `against ${nameOf(dtypes[0]!, dtypes)}, ${measured[0]!.accuracy.tokens} tokens of text`,
    'KL of P1, nats',
    "KL of P', nats",
    'JS off by, nats',
    'same likeliest in P1',
    "in P'",
  ];
  const rows = measured.map(({ name, accuracy }) => [
    name,
    accuracy.klBase.toFixed(5),
    accuracy.klSteered.toFixed(5),
    accuracy.js.toFixed(5),
    percent(accuracy.sameBase),
    percent(accuracy.sameSteered),
  ]);
  const [head, ...lines] = alignColumns([header, ...rows], [1, 2, 3, 4, 5]);
  return ['', bold(head!), ...lines];
}
