import { appendFileSync, existsSync, readFileSync } from 'node:fs';
import { z } from 'zod';
import { messageOf, SdaError } from '../errors.js';

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

/** What was spent; with a file also by the processes before, one line an answer. */
export class Ledger {
  private list: LedgerEntry[] | null = null;
  /** A process that was ended may have left half a line */
  private gap = '';

  constructor(private readonly file?: string) {}

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
      appendFileSync(this.file, `${this.gap}${JSON.stringify(entry)}\n`);
      this.gap = '';
    } catch (error) {
      throw new SdaError(
        'bad-input',
        `What was spent cannot be written to ${this.file} (${messageOf(error)}): give a folder that can be written, with space left.`,
        { cause: error },
      );
    }
  }

  private read(): LedgerEntry[] {
    if (this.file === undefined || !existsSync(this.file)) return [];
    const lines = readFileSync(this.file, 'utf8').split('\n');
    const rest = lines.pop() ?? '';
    this.gap = rest === '' ? '' : '\n';
    return lines.flatMap((line, index): LedgerEntry[] => {
      let value: unknown;
      try {
        value = JSON.parse(line);
      } catch {
        return []; // half a line, with the next process's line end behind it
      }
      const entry = entrySchema.safeParse(value);
      if (entry.success) return [entry.data];
      throw new SdaError(
        'bad-file',
        `Line ${index + 1} of ${this.file} says nothing of what was spent: correct or remove it.`,
      );
    });
  }
}
