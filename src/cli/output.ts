import { errorColours } from './colours.js';
import { write, writeLine } from './terminal.js';

export function print(text: string): void {
  write(process.stdout, text);
}

export function printJson(value: unknown): void {
  print(`${JSON.stringify(value, null, 1)}\n`);
}

/** A line for the person at the terminal, beside the result on stdout. */
export function note(text: string): void {
  writeLine(errorColours().dim(text));
}

export function warn(text: string): void {
  writeLine(`${errorColours().yellow('warning:')} ${text}`);
}

/** A reader such as `head` may leave early: then there is nothing more to do or say. */
export function exitQuietlyOnClosedPipe(): void {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EPIPE') throw error;
      process.exit(0);
    });
  }
}
