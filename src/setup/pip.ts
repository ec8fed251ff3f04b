import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { SdaError } from '../errors.js';
import { type ProcessResult, runProcess } from './process.js';
import { formatBytes } from './report.js';
import type { Python } from './tools.js';

/** Which build of a package is wanted, whatever the local Python is. */
export interface WheelTarget {
  readonly pythonVersion: string;
  readonly platformTags: readonly string[];
}

export interface DownloadOptions {
  readonly python: Python;
  /** Requirements such as `tensorflow-cpu==2.21.0`; their own dependencies are not fetched. */
  readonly requirements: readonly string[];
  /** Omitted for packages of data, which are the same everywhere. */
  readonly target?: WheelTarget;
  /** An empty folder: pip's temporary files go here too, so that an interrupted download goes with it. */
  readonly folder: string;
  /** Called about twice a second with the bytes so far. */
  readonly onBytes?: (bytes: number) => void;
}

/** Settings of pip that mean environments of the user's own: nothing here is installed into one. */
const OWN_PLACES = ['PIP_PREFIX', 'PIP_ROOT', 'PIP_TARGET', 'PIP_HOME'];
/** What pip says becomes part of sentences, in which colours have no place. */
const COLOURS = ['FORCE_COLOR'];

/** The environment in which pip is called; what it says of an index, a proxy or a certificate stays. */
export function pipEnvironment(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const kept = Object.entries(env).filter(([name]) => ![...OWN_PLACES, ...COLOURS].includes(name));
  const own = { PIP_NO_COLOR: '1', PIP_REQUIRE_VIRTUALENV: '0', PIP_USER: '0' };
  return { ...Object.fromEntries(kept), ...own };
}

const QUIET = ['--no-input', '--disable-pip-version-check', '--no-cache-dir', '--progress-bar=off'];

/**
 * Fetches wheels from the Python package index.
 *
 * @returns paths of the wheels.
 * @throws SdaError `setup` with pip's own reason.
 */
export async function downloadWheels(options: DownloadOptions): Promise<string[]> {
  const { folder, target } = options;
  const args = [
    '-m',
    'pip',
    'download',
    ...QUIET,
    '--no-deps',
    '--only-binary=:all:',
    '-d',
    folder,
  ];
  if (target) {
    args.push('--python-version', target.pythonVersion, '--implementation', 'cp');
    for (const tag of target.platformTags) args.push('--platform', tag);
  }
  const watch = setInterval(() => {
    void fetchedBytes(folder).then((bytes) => options.onBytes?.(bytes));
  }, 500);
  try {
    const result = await runProcess(options.python.command, [...args, ...options.requirements], {
      env: { ...pipEnvironment(process.env), TMPDIR: folder },
    });
    if (result?.code !== 0) throw pipFailed(`download ${options.requirements.join(' ')}`, result);
  } finally {
    clearInterval(watch);
  }
  const names = (await readdir(folder)).filter((name) => name.endsWith('.whl'));
  return names.sort().map((name) => join(folder, name));
}

/** Progress of a download as text: `132.0 MB of about 273.8 MB`. */
export function downloadProgress(bytes: number, expected: number): string {
  return bytes > expected
    ? formatBytes(bytes)
    : `${formatBytes(bytes)} of about ${formatBytes(expected)}`;
}

function pipFailed(what: string, result: ProcessResult | undefined): SdaError {
  const lines = (result?.stderr ?? '').split('\n').map((line) => line.trim());
  const why =
    lines.findLast((line) => line.startsWith('ERROR:'))?.slice('ERROR:'.length) ??
    lines.findLast((line) => line !== '') ??
    'it does not run';
  return new SdaError(
    'setup',
    `pip could not ${what} (${why.trim()}): check that this machine reaches the Python package index (pip's own settings for an index, proxy or certificate apply), then run the command again.`,
  );
}

/**
 * Bytes that pip has fetched. It downloads into a temporary folder within and copies the wheels out at the
 * end, so the two places are not added up. Files come and go meanwhile.
 */
async function fetchedBytes(folder: string): Promise<number> {
  let downloading = 0;
  let copied = 0;
  const entries = await readdir(folder, { withFileTypes: true, recursive: true }).catch(() => []);
  for (const entry of entries) {
    if (!entry.isFile()) continue;
    const file = await stat(join(entry.parentPath, entry.name)).catch(() => undefined);
    if (entry.parentPath === folder) copied += file?.size ?? 0;
    else downloading += file?.size ?? 0;
  }
  return Math.max(downloading, copied);
}
