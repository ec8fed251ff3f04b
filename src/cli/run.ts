import { spawn } from 'node:child_process';
import { join } from 'node:path';
import type { Command } from 'commander';
import type { AdapterSource } from '../checkpoint/adapter/merge.js';
import type { ExperimentConfig } from '../experiment/config.js';
import type { ExperimentResult } from '../experiment/pipeline.js';
import type { Method, RunData } from '../experiment/rows.js';
import { defaultModelDir } from '../runtime/paths.js';
import { addAdapterOption } from './adapter-option.js';
import { EXIT_INTERRUPTED } from './failure.js';
import { openModel, withInterrupt } from './load.js';
import { note, print, warn } from './output.js';
import { ProgressLine } from './progress.js';

interface Options {
  readonly out?: string;
  readonly check?: boolean;
  readonly report?: boolean;
  readonly open?: boolean;
  readonly adapter?: AdapterSource[];
}

/** `sda run`: an experiment, from a data set to win rates. */
export function register(program: Command): void {
  const command = program
    .command('run')
    .argument('<config>', 'YAML or JSON file; examples/ has some')
    .description('run an experiment: responses, scores, SDA and its ablations, verdicts, win rates')
    .option('--out <dir>', "the run's folder (default: runs/NAME)")
    .option('--check', 'check the configuration and the data set, and print both, without running')
    .option('--report', "write report.html into the run's folder at the end")
    .option('--open', 'open the report in a browser, where there is a screen');
  addAdapterOption(command)
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
      withInterrupt((signal) =>
        options.check ? check(file, options) : run(file, options, signal),
      ),
    );
}

/** The configuration, with the adapters of the command line where it gives some. */
async function configOf(file: string, { adapter = [] }: Options): Promise<ExperimentConfig> {
  const { readConfig } = await import('../experiment/config.js');
  const config = await readConfig(file);
  if (adapter.length === 0) return config;
  const adapters = adapter.map(({ dir, weight = 1 }) => ({ dir, weight }));
  return { ...config, model: { ...config.model, adapters } };
}

async function check(file: string, options: Options): Promise<void> {
  const { decidingSettings } = await import('../experiment/config.js');
  const { pairingsOf } = await import('../experiment/methods.js');
  const { judgeQuestions } = await import('../experiment/judging.js');
  const { loadDataSet } = await import('../experiment/data/index.js');
  const { stringify } = await import('yaml');
  const config = await configOf(file, options);
  const { name, items, notes } = await loadDataSet(config.data);
  for (const line of notes) note(line);
  note(`data set ${name}: ${items.length} queries, the first: ${JSON.stringify(items[0]?.query)}`);
  const pairs = pairingsOf(config).length * items.length;
  if (pairs > 0) note(judgeQuestions(pairs));
  print(stringify(decidingSettings(config)));
}

async function run(file: string, options: Options, signal: AbortSignal): Promise<void> {
  const { runExperiment } = await import('../experiment/pipeline.js');
  const config = await configOf(file, options);
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
  const [, kind, name] = /^(respond|judge)-(.+)$/.exec(stage) ?? [];
  const rows =
    kind === 'judge' ? verdicts.get(name!) : kind ? responses.get(name as Method) : scores;
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
