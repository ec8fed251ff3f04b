import { type Command, Option } from 'commander';
import type { TableFormat } from '../experiment/table.js';
import { note, print, warn } from './output.js';

interface Options {
  readonly out?: string;
  readonly table: TableFormat | 'none';
  readonly force?: boolean;
}

/** `sda report`: runs or a trace, to look at in a browser. */
export function register(program: Command): void {
  program
    .command('report')
    .argument('<run...>', 'folders of runs, or files of "sda generate --trace"')
    .description('write one HTML file that shows runs, and print their table')
    .option('--out <file>', "the file (default: report.html in the run's folder)")
    .addOption(
      new Option('--table <format>', 'how the table of win rates is printed')
        .choices(['text', 'markdown', 'csv', 'none'])
        .default('text'),
    )
    .option('--force', 'replace a file that is no report')
    .addHelpText(
      'after',
      `
The file needs nothing else: no network, no server. Unfinished runs are shown as far as they are.

Examples:
  sda report runs/offline
  sda report runs/llama runs/vicuna --out table.html --table csv > table.csv
  sda generate --query "How are you?" --trace t.jsonl && sda report t.jsonl`,
    )
    .action(run);
}

async function run(paths: readonly string[], { out, table, force }: Options): Promise<void> {
  const [{ writeReport }, { summarizeRun }, { resultsTable }] = await Promise.all([
    import('../report/index.js'),
    import('../experiment/summary.js'),
    import('../experiment/table.js'),
  ]);
  const report = await writeReport(paths, out, { force });
  const runs = report.runs.map((each) => ({ run: each, summary: summarizeRun(each) }));
  const judged = runs.some(({ summary }) => summary.comparisons.length > 0);
  if (judged && table !== 'none') print(`${resultsTable(runs, table)}\n`);
  if (runs.some((each) => each.run.header.standIn)) {
    warn('a stand-in scored or judged: these numbers are no results');
  }
  note(`report of ${(report.bytes / 1e6).toFixed(1)} MB in ${report.file}`);
}
