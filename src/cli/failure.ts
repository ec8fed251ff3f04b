import { CommanderError } from 'commander';
import { messageOf, SdaError } from '../errors.js';
import { errorColours } from './colours.js';
import { writeLine } from './terminal.js';

/** What the shell sees after Ctrl-C. */
export const EXIT_INTERRUPTED = 130;
const EXIT_FAILED = 1;
const EXIT_USAGE = 2;

/** The exit code for anything a command throws. */
export function exitCodeOf(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : EXIT_USAGE;
  if (error instanceof SdaError && error.code === 'usage') return EXIT_USAGE;
  if (error instanceof SdaError && error.code === 'aborted') return EXIT_INTERRUPTED;
  return EXIT_FAILED;
}

/** Writes an error to stderr: one sentence, and with `debug` where it comes from. */
export function reportError(error: unknown, debug: boolean): void {
  if (error instanceof CommanderError) return; // has been said
  const lines = [`${errorColours().red('error:')} ${messageOf(error)}`];
  if (debug) lines.push(...traces(error));
  else if (!(error instanceof SdaError)) {
    lines.push('This was not foreseen; --debug shows where it comes from.');
  }
  writeLine(lines.join('\n'));
}

/** The stack of an error and of each of its causes. */
function traces(error: unknown): string[] {
  if (!(error instanceof Error)) return [];
  const stack = error.stack ?? String(error);
  return error.cause === undefined ? [stack] : [stack, 'caused by:', ...traces(error.cause)];
}
