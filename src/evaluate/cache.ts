import { randomUUID } from 'node:crypto';
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { messageOf, SdaError } from '../errors.js';
import { hashOf } from './hash.js';

/** Raised when the meaning of entries changes; older ones are then not used. */
const SCHEMA_VERSION = 1;

const entrySchema = z.object({
  version: z.literal(SCHEMA_VERSION),
  key: z.string(),
  model: z.string(),
  answer: z.string(),
  tokens: z.object({ input: z.number().nonnegative(), output: z.number().nonnegative() }),
});

/** An answer that could be read. */
export type CacheEntry = Omit<z.infer<typeof entrySchema>, 'version' | 'key'>;

/**
 * The key of a question: a SHA-256 of all that its answer depends on.
 * @param parts endpoint (without credentials), model, messages, parameters, ...; as JSON
 */
export function cacheKey(parts: Readonly<Record<string, unknown>>): string {
  return hashOf({ version: SCHEMA_VERSION, ...parts });
}

/**
 * Answers on disk, one JSON file each, written whole or not at all. A damaged entry counts as absent and is
 * written again.
 */
export class AnswerCache {
  constructor(readonly dir: string) {}

  async read(key: string): Promise<CacheEntry | undefined> {
    try {
      const {
        version: _,
        key: written,
        ...entry
      } = entrySchema.parse(JSON.parse(await readFile(this.file(key), 'utf8')));
      return written === key ? entry : undefined;
    } catch {
      return undefined;
    }
  }

  /** @throws SdaError `bad-input` where the folder cannot be written: what is paid for would be lost. */
  async write(key: string, { model, answer, tokens }: CacheEntry): Promise<void> {
    const temporary = join(this.dir, `.${key}.${randomUUID()}`);
    const entry = { version: SCHEMA_VERSION, key, model, answer, tokens };
    try {
      await mkdir(this.dir, { recursive: true });
      await writeFile(temporary, `${JSON.stringify(entry, null, 2)}\n`);
      await rename(temporary, this.file(key));
    } catch (error) {
      await rm(temporary, { force: true }).catch(() => undefined);
      throw new SdaError(
        'bad-input',
        `An answer cannot be kept in the cache folder ${this.dir} (${messageOf(error)}); give a folder that can be written, with space left.`,
        { cause: error },
      );
    }
  }

  private file(key: string): string {
    return join(this.dir, `${key}.json`);
  }
}
