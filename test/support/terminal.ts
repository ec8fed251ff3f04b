import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { MAIN } from './cli.js';
import { Screen } from './screen.js';

const SCRIPT = fileURLToPath(new URL('terminal.py', import.meta.url));

export interface TerminalOptions {
  /** Default 80 */
  readonly columns?: number;
  readonly env?: Readonly<Record<string, string>>;
  /** Types Ctrl-C once the screen shows this. */
  readonly interruptAt?: RegExp;
}

export interface TerminalResult {
  readonly code: number | null;
  /** As it is at the end */
  readonly screen: Screen;
  /** All that was written, with its escape codes */
  readonly written: string;
}

/** Runs Node with these arguments in a terminal, where stdout and stderr are the same. */
export function inTerminal(
  args: readonly string[],
  { columns = 80, env: more, interruptAt }: TerminalOptions = {},
): Promise<TerminalResult> {
  const { NO_COLOR: _, FORCE_COLOR: __, COLUMNS: ___, ...env } = process.env;
  const child = spawn('python3', [SCRIPT, String(columns), process.execPath, ...args], {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: { ...env, TERM: 'xterm', ...more },
  });
  const screen = new Screen(columns);
  let written = '';
  let interrupted = false;
  return new Promise((resolve, reject) => {
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      written += text;
      screen.write(text);
      if (interrupted || !interruptAt?.test(screen.text().join('\n'))) return;
      interrupted = true;
      child.stdin.write('\x03');
    });
    child.on('error', reject);
    child.on('close', (code) => resolve({ code, screen, written }));
  });
}

/** The same for the built `sda`. */
export function sdaInTerminal(args: readonly string[], options: TerminalOptions = {}) {
  return inTerminal([MAIN, ...args], options);
}
