import stringWidth from 'string-width';

const ESCAPE = '\u001b';
const CONTROL = new RegExp(`^${ESCAPE}(\\[([?\\d;]*)([A-Za-z]))?`);

/** What a terminal shows: the part of a VT100 that command lines use. Anything else is an error. */
export class Screen {
  private readonly lines: string[][] = [[]];
  private row = 0;
  private column = 0;
  cursorVisible = true;
  private pending = '';

  constructor(readonly columns: number) {}

  /** Takes text as it comes, cut anywhere. */
  write(text: string): void {
    let rest = this.pending + text;
    while (rest !== '') {
      const control = CONTROL.exec(rest);
      const [first] = control ?? firstCharacter(rest);
      if (first === ESCAPE) break; // cut within
      if (control) this.control(control[2]!, control[3]!);
      else this.put(first!);
      rest = rest.slice(first!.length);
    }
    this.pending = rest;
  }

  /** Lines down to the cursor or the last text, without their trailing spaces; those that have scrolled away too. */
  text(): string[] {
    const lines = this.lines.map((cells) => cells.join('').trimEnd());
    const last = lines.findLastIndex((line) => line !== '');
    return lines.slice(0, Math.max(this.row, last) + 1);
  }

  private control(parameter: string, letter: string): void {
    const count = Number(parameter) || 1;
    if (letter === 'm') return;
    if (letter === 'A') this.row = Math.max(0, this.row - count);
    else if (letter === 'G') this.column = count - 1;
    else if (letter === 'K' && parameter === '2') this.lines[this.row] = [];
    else if (letter === 'K' && parameter === '') this.lines[this.row]!.length = this.column;
    else if (parameter === '?25') this.cursorVisible = letter === 'h';
    else throw new Error(`a control that no command line needs: ESC [ ${parameter}${letter}`);
  }

  private put(character: string): void {
    if (character === '\r') this.column = 0;
    else if (/[\n\r]/.test(character)) {
      this.newLine();
      if (character === '\r\n') this.column = 0;
    } else {
      const width = stringWidth(character);
      if (this.column + width > this.columns) {
        this.newLine();
        this.column = 0;
      }
      const line = this.lines[this.row]!;
      while (line.length < this.column) line.push(' ');
      line[this.column] = character;
      for (let cell = 1; cell < width; cell++) line[this.column + cell] = '';
      this.column += width;
    }
  }

  private newLine(): void {
    this.row++;
    this.lines[this.row] ??= [];
  }
}

const graphemes = new Intl.Segmenter();

function firstCharacter(text: string): string[] {
  for (const { segment } of graphemes.segment(text)) return [segment];
  return [];
}
