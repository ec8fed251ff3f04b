import type { Item, Row } from './rows.js';
import { isSettled } from './stages.js';
import type { StageFile } from './store/index.js';

/** How far a stage is. */
export interface StageProgress {
  /** Such as "respond-sda" */
  readonly stage: string;
  /** Items with a row, failed ones included, of all */
  readonly done: number;
  readonly total: number;
  readonly failed: number;
  /** Tokens drawn in this session; 0 for stages that draw none */
  readonly tokens: number;
}

export type OnProgress = (progress: StageProgress) => void;

/** Does what is pending in a stage: calls `onRow` with each row, `onTokens` with the tokens drawn in a step. */
export type Work<T> = (
  pending: readonly Item[],
  onRow: (row: Row<T>) => void,
  onTokens: (count: number) => void,
) => Promise<void>;

/** A stage of a run: its file, and how far it is. */
export class Stage<T> {
  private tokens = 0;
  private failures = 0;

  constructor(
    readonly name: string,
    private readonly file: StageFile<T>,
    private readonly items: readonly Item[],
    private readonly onProgress: OnProgress | undefined,
  ) {
    for (const row of file.rows().values()) this.failures += failuresIn(row);
  }

  rows(): ReadonlyMap<string, Row<T>> {
    return this.file.rows();
  }

  /** Items whose newest row is a failure */
  failed(): number {
    return this.failures;
  }

  /** Items that have nothing lasting yet */
  pending(): Item[] {
    return this.items.filter(({ id }) => !isSettled(this.rows().get(id)));
  }

  /** Every item has a row. */
  full(): boolean {
    return this.rows().size === this.items.length;
  }

  /** Runs `work` on the items that have nothing lasting yet; a full file is put in the order of the items. */
  async fill(work: Work<T>): Promise<void> {
    const pending = this.pending();
    const report = () =>
      this.onProgress?.({
        stage: this.name,
        done: this.rows().size,
        total: this.items.length,
        failed: this.failures,
        tokens: this.tokens,
      });
    report();
    if (pending.length > 0) {
      await work(
        pending,
        (row) => {
          this.append(row);
          report();
        },
        (count) => {
          this.tokens += count;
          report();
        },
      );
    }
    if (this.full()) this.file.seal(this.items.map(({ id }) => id));
  }

  private append(row: Row<T>): void {
    const before = this.rows().get(row.item);
    this.file.append(row);
    this.failures += failuresIn(row) - failuresIn(before);
  }
}

function failuresIn(row: Row<unknown> | undefined): 0 | 1 {
  return row?.status === 'failed' ? 1 : 0;
}
