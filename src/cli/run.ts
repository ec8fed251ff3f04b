import { spawn } from 'node:child_process';
import { join } from 'node:path';
import type { Command } from 'commander';
import type { ExperimentResult } from '../experiment/pipeline.js';
import type { Method, RunData } from '../experiment/rows.js';
import { defaultModelDir } from '../runtime/paths.js';
import { EXIT_INTERRUPTED } from './failure.js';
import { openModel, withInterrupt } from './load.js';
import { note, print, warn } from './output.js';
import { ProgressLine } from './progress.js';

interface Options {
  readonly out?: string;
  readonly check?: boolean;
  readonly report?: boolean;
  readonly open?: boolean;
}

/** `sda run`: an experiment, from a data set to win rates. */
export function register(program: Command): void {
  program
    .command('run')
    .argument('<config>', 'YAML or JSON file; examples/ has some')
    .description('run an experiment: responses, scores, SDA and its ablations, verdicts, win rates')
    .option('--out <dir>', "the run's folder (default: runs/NAME)")
    .option('--check', 'check the configuration and the data set, and print both, without running')
    .option('--report', "write report.html into the run's folder at the end")
    .option('--open', 'open the report in a browser, where there is a screen')
    .addHelpText(
      'after',
      `
The same command goes on with a run that was stopped, by Ctrl-C or worse. Failed items are tried again.
"sda report" shows a run, also while it is going on.

Examples:
  sda run examples/offline.yaml
  sda run examples/offline.yaml --out runs/second
  sda run my-config.json --check`,
    )
    .action((file: string, options: Options) =>
      withInterrupt((signal) => (options.check ? check(file) : run(file, options, signal))),
    );
}

async function check(file: string): Promise<void> {
  const { readConfig, decidingSettings } = await import('../experiment/config.js');
  const { loadDataSet } = await import('../experiment/data/index.js');
  const { stringify } = await import('yaml');
  const config = await readConfig(file);
  const { name, items, notes } = await loadDataSet(config.data);
  for (const line of notes) note(line);
  note(`data set ${name}: ${items.length} queries, the first: ${JSON.stringify(items[0]?.query)}`);
  print(stringify(decidingSettings(config)));
}

async function run(file: string, options: Options, signal: AbortSignal): Promise<void> {
  const [{ readConfig }, { runExperiment }] = await Promise.all([
    import('../experiment/config.js'),
    import('../experiment/pipeline.js'),
  ]);
  const config = await readConfig(file);
  const dir = options.out ?? join('runs', config.name);
  const progress = new ProgressLine();
  let result: ExperimentResult;
  try {
    result = await runExperiment(config, {
      dir,
      defaultModel: defaultModelDir(),
      openModel: (modelDir, loadOptions) => openModel(modelDir, { ...loadOptions, signal }),
      signal,
      onProgress: (event) => progress.show(event),
      onNote: note,
    });
  } finally {
    progress.end();
  }
  await conclude(dir, result, options, signal);
}

async function conclude(
  dir: string,
  { complete, failed, judgingStopped }: ExperimentResult,
  options: Options,
  signal: AbortSignal,
): Promise<void> {
  const again = 'the same command goes on';
  for (const [stage, count] of Object.entries(failed)) {
    note(`${stage}: ${count} failed; ${again} with them`);
  }
  if (signal.aborted) {
    note(`stopped; all finished rows are in ${dir}; ${again}`);
    process.exitCode = EXIT_INTERRUPTED;
    return;
  }
  const [{ readRun }, { summarizeRun }, { resultsTable }] = await Promise.all([
    import('../experiment/store/index.js'),
    import('../experiment/summary.js'),
    import('../experiment/table.js'),
  ]);
  const data = readRun(dir);
  const summary = summarizeRun(data);
  if (summary.comparisons.length > 0) print(`${resultsTable([{ run: data, summary }])}\n`);
  if (data.header.standIn) warn('a stand-in scored or judged: these numbers are no results');
  for (const [stage, count] of Object.entries(failed)) {
    if (count < data.items.length) continue;
    warn(`${stage}: every item failed: ${firstReason(data, stage)}`);
    process.exitCode = 1;
  }
  if (judgingStopped !== null) {
    note(`judging stopped: ${judgingStopped} ${again} once that is mended`);
    process.exitCode = 1;
  }
  note(complete ? `run finished in ${dir}` : `run unfinished in ${dir}; ${again}`);
  if (!options.report && !options.open) {
    note(`see it with: sda report ${dir}`);
    return;
  }
  const { writeReport } = await import('../report/index.js');
  const { file } = await writeReport([dir]);
  note(`report in ${file}`);
  if (options.open) openInBrowser(file);
}

/** Why the first item of a stage failed. */
function firstReason({ responses, scores, verdicts }: RunData, stage: string): string {
  const [kind, method] = stage.split('-') as [string, Method?];
  const rows =
    method === undefined ? scores : (kind === 'judge' ? verdicts : responses).get(method);
  const [first] = rows?.values() ?? [];
  return first?.status === 'failed' ? first.failure.reason : 'see its rows';
}

/** Leaves it to the system which; does nothing without a screen. */
function openInBrowser(file: string): void {
  const mac = process.platform === 'darwin';
  if (!mac && !process.env.DISPLAY && !process.env.WAYLAND_DISPLAY) return;
  const child = spawn(mac ? 'open' : 'xdg-open', [file], { detached: true, stdio: 'ignore' });
  child.on('error', () => {}); // the path has been told
  child.unref();
}
