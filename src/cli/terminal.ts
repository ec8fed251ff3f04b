import { createLogUpdate } from 'log-update';
import wrapAnsi from 'wrap-ansi';
import { errorColours } from './colours.js';

/** Columns where there is no terminal, or it does not say. */
const DEFAULT_COLUMNS = 80;
const DEFAULT_ROWS = 24;

type Stream = NodeJS.WriteStream;

/** Columns of a terminal, or `COLUMNS` where that is less; 80 where the stream is none. */
export function columnsOf(stream: Stream, env = process.env): number {
  if (stream.isTTY !== true) return DEFAULT_COLUMNS;
  const wanted = Number(env.COLUMNS);
  const known = [wanted, stream.columns].filter(
    (columns) => Number.isInteger(columns) && columns > 0,
  );
  return known.length > 0 ? Math.min(...known) : DEFAULT_COLUMNS;
}

/** Whether stderr is a terminal on which lines can be replaced. */
export function canReplace(): boolean {
  return process.stderr.isTTY === true && process.env.TERM !== 'dumb';
}

/** Lines that are shown at the end of the terminal until they are cleared, oldest first. */
const shown = new Map<LiveLine, string>();
/** Text that was written to a terminal ends within a line: what is next to it would run into it. */
let withinLine = false;
let clearedAtExit = false;

/** Draws at the end of the terminal, in place of what it drew before. The cursor stays visible, below. */
const draw = createLogUpdate(
  {
    get columns() {
      return columnsOf(process.stderr);
    },
    get rows() {
      return process.stderr.rows || DEFAULT_ROWS;
    },
    write: (text: string) => process.stderr.write(text),
  } as Stream,
  { showCursor: true },
);

function drawShown(): void {
  if (shown.size === 0 || withinLine) return;
  const { dim } = errorColours();
  const lines = wrapAnsi([...shown.values()].join('\n'), columnsOf(process.stderr), { hard: true });
  draw(lines.split('\n').map(dim).join('\n'));
}

/**
 * Writes to stdout or stderr. Where that is a terminal, it comes above the live lines: both streams are most often the
 * same terminal.
 */
export function write(stream: Stream, text: string): void {
  if (text === '') return;
  if (stream.isTTY !== true) {
    stream.write(text);
    return;
  }
  if (shown.size > 0) draw.clear();
  stream.write(text);
  withinLine = !text.endsWith('\n');
  drawShown();
}

/** Writes a whole line to stderr: on a terminal never behind text of stdout. */
export function writeLine(text: string): void {
  const begin = withinLine && process.stderr.isTTY === true ? '\n' : '';
  write(process.stderr, `${begin}${text}\n`);
}

/**
 * What goes on right now. On a terminal it is a line below everything else that replaces itself; elsewhere, such as in
 * a log file, it becomes a line now and then.
 */
export class LiveLine {
  private since: number;

  /**
   * @param interval seconds between two lines where there is no terminal; default: none is written
   * @param now seconds, of a clock that only goes forward
   */
  constructor(
    private readonly interval = Number.POSITIVE_INFINITY,
    private readonly now = () => performance.now() / 1000,
  ) {
    this.since = now();
  }

  show(text: string): void {
    if (!canReplace()) {
      if (this.now() - this.since < this.interval) return;
      writeLine(errorColours().dim(text));
      this.since = this.now();
      return;
    }
    if (!clearedAtExit) process.once('exit', () => shown.size > 0 && draw.clear());
    clearedAtExit = true;
    shown.set(this, text);
    drawShown();
  }

  /** Takes the line away; elsewhere, the interval begins anew. */
  clear(): void {
    this.since = this.now();
    if (!shown.delete(this)) return;
    draw.clear();
    drawShown();
  }
}
