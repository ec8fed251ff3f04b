import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll } from 'vitest';
import type { Json } from './mutate.js';

/** A folder for the files of a run, removed after it. */
export const root = mkdtempSync(join(tmpdir(), 'sda-fuzz-'));
afterAll(() => {
  rmSync(root, { recursive: true, force: true });
});

export const utf8 = (text: string) => new TextEncoder().encode(text);
export const json = (file: string) => JSON.parse(readFileSync(file, 'utf8')) as Json;
export const fresh = (value: Json): Json => JSON.parse(JSON.stringify(value)) as Json;
