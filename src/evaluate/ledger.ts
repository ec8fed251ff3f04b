import { appendFileSync, truncateSync } from 'node:fs';
import { z } from 'zod';
import { messageOf, SdaError } from '../errors.js';
import { checkedLines, type JsonLines, readJsonLines } from './json-lines.js';

const entrySchema = z.object({
  /** Who asked, such as "judge" */
  evaluator: z.string(),
  model: z.string(),
  /** null where the server did not count them */
  tokens: z.object({ input: z.number(), output: z.number() }).nullable(),
  /** US dollars, at the price of its time; null where that was not known */
  cost: z.number().nullable(),
});

/** What one answer of a server took. */
export type LedgerEntry = z.infer<typeof entrySchema>;

const ADVICE = 'correct or remove that line, which says what was spent';

/** What was spent; with a file also by the processes before, one line an answer. */
export class Ledger {
  private list: LedgerEntry[] | null = null;
  /** How the file ended when it was read, until something is added to it */
  private found: JsonLines | null = null;

  /** @param file one process at a time adds to it */
  constructor(private readonly file?: string) {}

  /** @throws SdaError `bad-file` naming a line that says nothing of what was spent */
  entries(): readonly LedgerEntry[] {
    this.list ??= this.read();
    return this.list;
  }

  /** @throws SdaError `bad-input` where it cannot be written: a cost cap would not be kept. */
  add(entry: LedgerEntry): void {
    this.list ??= this.read();
    this.list.push(entry);
    if (this.file === undefined) return;
    try {
      if (this.found?.end === 'half') truncateSync(this.file, this.found.length);
      const gap = this.found?.end === 'unterminated' ? '\n' : '';
      appendFileSync(this.file, `${gap}${JSON.stringify(entry)}\n`);
      this.found = null;
    } catch (error) {
      throw new SdaError(
        'bad-input',
        `What was spent cannot be written to ${this.file} (${messageOf(error)}): give a folder that can be written, with space left.`,
        { cause: error },
      );
    }
  }

  private read(): LedgerEntry[] {
    if (this.file === undefined) return [];
    this.found = readJsonLines(this.file, ADVICE);
    return checkedLines(this.found, entrySchema, this.file, ADVICE);
  }
}
