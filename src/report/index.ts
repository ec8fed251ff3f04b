import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { messageOf, SdaError } from '../errors.js';
import { GIBBERISH_FILTER } from '../evaluate/gibberish.js';
import type { RunData } from '../experiment/rows.js';
import { readRun } from '../experiment/store/index.js';
import { type PageRun, pageRun } from './data.js';
import { REPORT_MARK, renderPage } from './page.js';
import { Traces } from './page-traces.js';
import { traceRun } from './trace-file.js';

export interface ReportOptions {
  /** Replace a file that is no report; default false */
  readonly force?: boolean | undefined;
}

/** What a report was made of. */
export interface Report {
  readonly file: string;
  readonly bytes: number;
  /** Those of `paths` that are runs */
  readonly runs: readonly RunData[];
}

/**
 * Writes one HTML file that shows runs, or a trace.
 *
 * @param paths folders of runs, or files that `sda generate --trace` wrote
 * @param out the file; default `defaultOutput(paths)`
 * @throws SdaError `file-missing`, `bad-file`; `bad-input` where `out` is there and no report
 */
export async function writeReport(
  paths: readonly string[],
  out = defaultOutput(paths),
  { force = false }: ReportOptions = {},
): Promise<Report> {
  if (!force) refuseOthers(out);
  const traces = new Traces();
  const runs: RunData[] = [];
  const shown: PageRun[] = [];
  for (const path of paths) {
    if (isFile(path)) {
      shown.push(traceRun(path, traces));
      continue;
    }
    const run = readRun(path);
    runs.push(run);
    shown.push(pageRun(run, traces));
  }
  const named = distinct(shown, paths);
  const title = named.map(({ name }) => name).join(', ');
  const html = await renderPage(
    {
      title: `SDA report: ${title}`,
      filter: GIBBERISH_FILTER,
      hottest: traces.hottest,
      runs: named,
    },
    traces.lines,
  );
  try {
    writeFileSync(out, html);
  } catch (error) {
    throw new SdaError(
      'bad-input',
      `The report ${out} cannot be written (${messageOf(error)}): give another path with --out.`,
      { cause: error },
    );
  }
  return { file: out, bytes: Buffer.byteLength(html), runs };
}

/** Runs that share a name get their paths beside it. */
function distinct(runs: readonly PageRun[], paths: readonly string[]): PageRun[] {
  return runs.map((run, index) => {
    const shared = runs.some(({ name }, other) => name === run.name && other !== index);
    return shared ? { ...run, name: `${run.name} (${paths[index]})` } : run;
  });
}

/** Beside what it shows, where that is one thing; else in the working directory. */
export function defaultOutput(paths: readonly string[]): string {
  const [only, ...others] = paths;
  if (only === undefined || others.length > 0) return 'sda-report.html';
  return isFile(only) ? `${only.replace(/\.jsonl?$/, '')}.html` : join(only, 'report.html');
}

/** @throws SdaError `file-missing` where there is neither a file nor a folder */
function isFile(path: string): boolean {
  try {
    return statSync(path).isFile();
  } catch (error) {
    throw new SdaError(
      'file-missing',
      `${path} does not exist: give the folder of a run, or a file that "sda generate --trace" wrote.`,
      { cause: error },
    );
  }
}

function refuseOthers(out: string): void {
  if (!existsSync(out)) return;
  if (statSync(out).isFile() && readFileSync(out, 'utf8').slice(0, 2000).includes(REPORT_MARK))
    return;
  throw new SdaError(
    'bad-input',
    `${out} is there and no report of this program: give another path with --out, or --force to replace it.`,
  );
}
