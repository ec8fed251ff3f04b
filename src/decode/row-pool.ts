/** What a row of the cache holds: the keys and values of `ids`, under one set of rotary angles. */
export interface RowContent {
  readonly ids: readonly number[];
  /** See `rotationLength` */
  readonly angles: number;
}

/** A row that begins with the tokens that are asked for. */
export interface Match {
  readonly row: number;
  /** Leading tokens that are the same */
  readonly length: number;
}

/** Fewer equal tokens than this are run again: a copy of a row has its price, too. */
const LEAST_MATCH = 16;

/**
 * The rows of one cache: which are taken, and what each of them holds. A row that is given back keeps its content until it
 * is given away again, the one unused for longest first: so prefixes stay for later queries, in memory that is there anyway.
 */
export class RowPool {
  private readonly contents: (RowContent | undefined)[];
  /** Those that nobody has, the one unused for longest first */
  private readonly idle: number[];

  /** @param rows how many there are */
  constructor(readonly rows: number) {
    this.contents = Array.from({ length: rows }, () => undefined);
    this.idle = [...this.contents.keys()];
  }

  /** Rows that nobody has. */
  get free(): number {
    return this.idle.length;
  }

  /**
   * The row, taken or not, that begins with the most of `ids`, of which the last one is left to run.
   *
   * @returns undefined where too few tokens are equal
   */
  match({ ids, angles }: RowContent): Match | undefined {
    let best: Match | undefined;
    this.contents.forEach((content, row) => {
      if (!content || content.angles !== angles) return;
      const length = Math.min(commonPrefix(content.ids, ids), ids.length - 1);
      if (length >= LEAST_MATCH && length > (best?.length ?? 0)) best = { row, length };
    });
    return best;
  }

  /**
   * Gives away a row that nobody has; there must be one.
   *
   * @param preferred is given away where it is free
   * @param spared are given away last
   */
  take(preferred?: number, spared: ReadonlySet<number> = new Set()): number {
    const wanted = preferred === undefined ? -1 : this.idle.indexOf(preferred);
    const other = this.idle.findIndex((row) => !spared.has(row));
    const [row] = this.idle.splice(Math.max(wanted >= 0 ? wanted : other, 0), 1);
    this.contents[row!] = undefined;
    return row!;
  }

  /** Says what a row holds from now on. */
  hold(row: number, content: RowContent | undefined): void {
    this.contents[row] = content;
  }

  /** Takes a row back. What it holds can be found until it is given away. */
  giveBack(row: number): void {
    this.idle.push(row);
  }
}

function commonPrefix(a: readonly number[], b: readonly number[]): number {
  const most = Math.min(a.length, b.length);
  let length = 0;
  while (length < most && a[length] === b[length]) length++;
  return length;
}
