import { appendFileSync, closeSync, openSync } from 'node:fs';
import { basename } from 'node:path';
import type { Command } from 'commander';
import type { DecodingReport, Variant } from '../bench/decoding.js';
import type { BenchReport } from '../bench/report.js';
import type { Summary } from '../bench/statistics.js';
import { messageOf, SdaError } from '../errors.js';
import { KV_DTYPES, type KvDtype } from '../model/kv-dtype.js';
import { formatBytes } from '../setup/report.js';
import { alignColumns } from '../text/columns.js';
import { measureDtypes } from './bench-dtypes.js';
import { machineLine, percent, spread } from './bench-format.js';
import { colours } from './colours.js';
import { openModel, requireModelDir, withInterrupt } from './load.js';
import {
  addLoadOptions,
  addModelOption,
  LOAD_DTYPES,
  type LoadDtypeName,
  listOf,
  loadOptions,
  type ModelOptions,
  modelDir,
  wholeNumber,
} from './options.js';
import { note, print, printJson } from './output.js';
import { LiveLine } from './terminal.js';

export interface BenchCliOptions extends ModelOptions {
  readonly tokens: number;
  readonly promptTokens?: number;
  readonly repeats: number;
  readonly greedy?: boolean;
  readonly chart?: string;
  readonly dtypes?: readonly LoadDtypeName[];
  readonly kvs?: readonly KvDtype[];
  readonly text?: string;
  readonly textTokens: number;
  readonly json?: boolean;
}

/** `sda bench`: how fast a model decodes here, with SDA and without. */
export function register(program: Command): void {
  const command = program
    .command('bench')
    .description('measure decoding: plain, SDA, and SDA done in two passes, in turn');
  addLoadOptions(addModelOption(command))
    .option('--tokens <n>', 'tokens a run', wholeNumber(2), 64)
    .option(
      '--prompt-tokens <n>',
      'length of the instructed prompt; the base prompt is the same without the instruction (default: about 130)',
      wholeNumber(2),
    )
    .option('--repeats <n>', 'measured rounds', wholeNumber(1), 5)
    .option('--greedy', 'take the likeliest token instead of sampling with top-p')
    .option('--chart <file>', 'write a bar chart as SVG')
    .option(
      '--dtypes <list>',
      `compare these types of the weights in turn, such as bfloat16,int8,int4: speed, and how far each is from the first (of ${LOAD_DTYPES.join(', ')})`,
      listOf(LOAD_DTYPES, 'bfloat16,int8'),
    )
    .option(
      '--kvs <list>',
      `the same of types of the keys and values, with each type of the weights (of ${KV_DTYPES.join(', ')})`,
      listOf(KV_DTYPES, 'float32,bfloat16'),
    )
    .option('--text <file>', 'the text by which --dtypes and --kvs compare (default: the README)')
    .option('--text-tokens <n>', 'its tokens; 0: speed alone', wholeNumber(0), 512)
    .option('--json', 'print one JSON object with every sample instead of the table')
    .addHelpText(
      'after',
      `
A first round warms up and does not count. Each further round runs every variant once, and measures how
fast the machine reads memory: what a decode step reads at that speed is the least that it can take.
SDA_KERNELS=reference measures the forms without native kernels, TF_NUM_INTRAOP_THREADS sets the threads.

Examples:
  sda bench
  sda bench --model path/to/model --dtype bfloat16 --tokens 128 --repeats 9 --chart bench.svg
  sda bench --dtypes bfloat16,int8,int4
  sda bench --kvs float32,bfloat16 --prompt-tokens 1500
  sda bench --prompt-tokens 512 --tokens 16 --json`,
    )
    .action((options: BenchCliOptions) => withInterrupt((signal) => run(options, signal)));
}

async function run(options: BenchCliOptions, signal: AbortSignal): Promise<void> {
  const dir = modelDir(options);
  requireModelDir(dir);
  if (options.dtypes || options.kvs) return measureDtypes(dir, options, signal);
  const chart = options.chart === undefined ? null : openChart(options.chart);
  try {
    const report = await measure(dir, options, signal);
    if (chart !== null) {
      const { stepChart } = await import('../bench/chart.js');
      const title = `A decode step of ${basename(dir)}, ${report.model.dtype}`;
      appendFileSync(chart, await stepChart(report, title, machineLine(report)));
      note(`chart written to ${options.chart}`);
    }
    if (options.json) {
      const { toSnakeCase } = await import('../bench/report.js');
      printJson(toSnakeCase(report));
    } else print(table(report));
  } finally {
    if (chart !== null) closeSync(chart);
  }
}

async function measure(
  dir: string,
  options: BenchCliOptions,
  signal: AbortSignal,
): Promise<BenchReport> {
  const { tokens, promptTokens, repeats, greedy = false } = options;
  const [{ bench }, { peakRssBytes }, { startTensorFlow }] = await Promise.all([
    import('../bench/report.js'),
    import('../bench/environment.js'),
    import('../index.js'),
  ]);
  await startTensorFlow();
  const rssBeforeBytes = peakRssBytes();
  const model = await openModel(dir, { ...loadOptions(options), signal });
  const live = new LiveLine();
  try {
    note(`measuring ${repeats + 1} rounds, the first of them to warm up`);
    return await bench(model, {
      tokens,
      promptTokens,
      repeats,
      greedy,
      signal,
      rssBeforeBytes,
      onProgress: (done, total) => live.show(`measuring: run ${done + 1} of ${total}`),
    });
  } finally {
    live.clear();
    model.dispose();
  }
}

function openChart(file: string): number {
  try {
    return openSync(file, 'w');
  } catch (error) {
    throw new SdaError(
      'usage',
      `--chart ${file} cannot be written (${messageOf(error)}): name a file in an existing folder.`,
      { cause: error },
    );
  }
}

const LABELS: Record<Variant, string> = {
  plain: 'plain, one stream',
  sda: 'SDA, both streams in one forward',
  sequential: 'SDA, two forwards (naive)',
};

const PHASES: Record<keyof DecodingReport['phases'], string> = {
  forward: 'forward',
  step: 'SDA step',
  sample: 'sampling',
  read: 'read-back',
  rest: 'JavaScript and the rest',
};

function table(report: BenchReport): string {
  const { bold, dim } = colours();
  const { model, prompts, settings, variants, ratios, memory } = report;
  const how = settings.greedy ? 'greedy' : `sampled with top-p ${settings.topP}`;
  const name = basename(model.dir);
  const head = [
    `${bold(name)}  ${model.dtype}, ${formatBytes(model.fileBytes)}, loaded in ${(model.loadMs / 1000).toFixed(2)} s`,
    dim(machineLine(report)),
    dim(
      `prompts of ${prompts.base} and ${prompts.instructed} tokens (${prompts.shared} shared), ${settings.tokens} tokens ${how}, ${settings.repeats} rounds; median (p20-p80)`,
    ),
  ];
  const lines = [
    ...head,
    '',
    ...section(
      bold,
      ['decoding', 'ms a step', 'tokens/s', 'against plain', 'of the memory limit'],
      [
        ...rows(variants, ({ stepMs, tokensPerSecond, limitShare }) => [
          spread(stepMs, 2),
          tokensPerSecond.median.toFixed(1),
          `${(stepMs.median / variants.plain.stepMs.median).toFixed(2)}x`,
          percent(limitShare),
        ]),
      ],
    ),
    '',
    ...section(
      bold,
      ['prefill', 'ms'],
      [...rows(variants, ({ prefillMs }) => [spread(prefillMs, 1)])],
    ),
    '',
    ...section(bold, ['an SDA step', 'ms', 'share'], phaseRows(report)),
    '',
    ...section(
      bold,
      ['in sum', ''],
      [
        ['cost of SDA over plain decoding', `${spread(ratios.sdaToPlain, 3)} x`],
        ['two forwards against one', `${spread(ratios.sequentialToSda, 3)} x`],
        ['weights read a step', formatBytes(memory.weightBytes)],
        ['read with keys and values', formatBytes(variants.sda.bytesPerStep)],
        ...Object.entries(memory.bandwidth).map(([probe, rate]) => [
          `read bandwidth, ${probe}${probe === memory.probe ? ' (gives the limit)' : ''}`,
          `${spread(scale(rate, 1e-9), 1)} GB/s`,
        ]),
        ['memory limit of an SDA step', `${variants.sda.limitMs.toFixed(2)} ms`],
        [
          'peak memory (RSS)',
          `${formatBytes(memory.peakRssBytes)}, ${formatBytes(model.rssBeforeBytes)} of it before loading`,
        ],
      ],
    ),
  ];
  if (report.machine.device === 'gpu') {
    lines.push(
      '',
      dim('On a GPU work goes on behind "read-back": the other phases only start it.'),
    );
  }
  return `${lines.join('\n')}\n`;
}

function section(
  bold: (text: string) => string,
  header: readonly string[],
  body: readonly (readonly string[])[],
): string[] {
  const [first, ...others] = alignColumns([header, ...body], header[1] === '' ? [] : [1, 2, 3, 4]);
  return [bold(first!), ...others];
}

function rows(
  variants: DecodingReport['variants'],
  cells: (variant: DecodingReport['variants'][Variant]) => string[],
): string[][] {
  return (Object.keys(LABELS) as Variant[]).map((name) => [
    `  ${LABELS[name]}`,
    ...cells(variants[name]),
  ]);
}

function phaseRows({ phases }: BenchReport): string[][] {
  const names = Object.keys(PHASES) as (keyof DecodingReport['phases'])[];
  const total = names.reduce((sum, name) => sum + phases[name].median, 0);
  return names.map((name) => [
    `  ${PHASES[name]}`,
    spread(phases[name], 3),
    percent(phases[name].median / total),
  ]);
}

function scale({ median, p20, p80 }: Summary, factor: number) {
  return { median: median * factor, p20: p20 * factor, p80: p80 * factor };
}
