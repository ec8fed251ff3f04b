import pc from 'picocolors';

type Colours = ReturnType<typeof pc.createColors>;

/** Colours for stdout: none unless it is a terminal. */
export function colours(): Colours {
  return pc.createColors(pc.isColorSupported && process.stdout.isTTY === true);
}

/** Colours for stderr: none unless it is a terminal. */
export function errorColours(): Colours {
  return pc.createColors(pc.isColorSupported && process.stderr.isTTY === true);
}

export function print(text: string): void {
  process.stdout.write(text);
}

export function printJson(value: unknown): void {
  print(`${JSON.stringify(value, null, 1)}\n`);
}

/** A line for the person at the terminal, beside the result on stdout. */
export function note(text: string): void {
  process.stderr.write(`${errorColours().dim(text)}\n`);
}

export function warn(text: string): void {
  process.stderr.write(`${errorColours().yellow('warning:')} ${text}\n`);
}

/** A line on a terminal's stderr that replaces itself; nothing elsewhere. */
export class Ticker {
  private open = false;

  show(text: string): void {
    if (process.stderr.isTTY !== true) return;
    process.stderr.write(`\r\x1b[K${errorColours().dim(text)}`);
    this.open = true;
  }

  clear(): void {
    if (this.open) process.stderr.write('\r\x1b[K');
    this.open = false;
  }
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

/** Rows as lines with aligned columns; numbers (columns named in `right`) to the right. */
export function alignColumns(rows: readonly (readonly string[])[], right: readonly number[] = []) {
  const widths = rows.reduce<number[]>((most, row) => {
    row.forEach((cell, column) => {
      most[column] = Math.max(most[column] ?? 0, cell.length);
    });
    return most;
  }, []);
  const pad = (cell: string, column: number) =>
    right.includes(column) ? cell.padStart(widths[column]!) : cell.padEnd(widths[column]!);
  return rows.map((row) => row.map(pad).join('  ').trimEnd());
}

/** Text broken at spaces into lines of at most `width` characters; longer words are cut. */
export function wrapText(text: string, width: number): string[] {
  return text.split('\n').flatMap((paragraph) => {
    const lines: string[] = [];
    let line = '';
    for (const word of paragraph.split(' ')) {
      let rest = word;
      if (line && line.length + 1 + rest.length > width) {
        lines.push(line);
        line = '';
      }
      while (rest.length > width) {
        lines.push(rest.slice(0, width));
        rest = rest.slice(width);
      }
      line = line ? `${line} ${rest}` : rest;
    }
    return [...lines, line];
  });
}
