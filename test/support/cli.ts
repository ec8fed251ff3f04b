import { execFileSync, spawn } from 'node:child_process';
import { join } from 'node:path';
import { stripVTControlCharacters } from 'node:util';
import { packageRoot } from '../../src/runtime/paths.js';

export const MAIN = join(packageRoot(), 'dist', 'src', 'cli', 'main.js');

/** Runs `sda`: `SDA_TEST_NODE`, for versions that the test runner does not take, else what runs the tests. */
export const NODE = process.env.SDA_TEST_NODE || process.execPath;
/** Its version, as `v20.12.2`. */
export const NODE_VERSION = execFileSync(NODE, ['-v'], { encoding: 'utf8' }).trim();

export interface CliResult {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface CliOptions {
  readonly env?: Readonly<Record<string, string>>;
  readonly stdin?: string;
  /** Closes stdout after its first bytes, as `head` does. */
  readonly closeStdoutEarly?: boolean;
  /** Sends SIGINT once this has been printed. */
  readonly interruptAfter?: RegExp;
  /** The same, for what is printed on stderr */
  readonly interruptAfterError?: RegExp;
}

/** Runs the built `sda` by `NODE` and waits for its end. */
export function sda(args: readonly string[], options: CliOptions = {}): Promise<CliResult> {
  const child = spawn(NODE, [MAIN, ...args], { env: { ...process.env, ...options.env } });
  child.stdin.end(options.stdin ?? '');
  return new Promise((resolve, reject) => {
    let stdout = '';
    let stderr = '';
    let interrupted = false;
    const { interruptAfter, interruptAfterError } = options;
    const interrupt = () => {
      if (!interrupted) child.kill('SIGINT');
      interrupted = true;
    };
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
      if (options.closeStdoutEarly) child.stdout.destroy();
      if (interruptAfter?.test(stdout)) interrupt();
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
      if (interruptAfterError?.test(stderr)) interrupt();
    });
    child.on('error', reject);
    child.on('close', (code) => {
      // where colours are forced on all that runs here, what is said in them is the same
      const forced = process.env.FORCE_COLOR && options.env?.FORCE_COLOR === undefined;
      const plain = forced ? stripVTControlCharacters : String;
      resolve({ code, stdout: plain(stdout), stderr: plain(stderr) });
    });
  });
}

/** Runs `sda` with `--json` and parses what it prints; an exit code other than 0 is thrown with its message. */
export async function sdaJson<T>(args: readonly string[]): Promise<T> {
  const { code, stdout, stderr } = await sda([...args, '--json']);
  if (code !== 0) throw new Error(`sda ${args.join(' ')}: exit code ${code}: ${stderr}`);
  return JSON.parse(stdout) as T;
}
