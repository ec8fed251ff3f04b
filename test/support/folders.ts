import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { type CheckpointName, checkpointDir } from './checkpoints.js';

/** An empty folder that is removed when the current test ends. */
export function temporaryFolder(): string {
  const dir = mkdtempSync(join(tmpdir(), 'sda-test-'));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

/** A copy of a checkpoint that the current test may change. */
export function copyOf(name: CheckpointName): string {
  const dir = join(temporaryFolder(), name);
  cpSync(checkpointDir(name), dir, { recursive: true });
  return dir;
}

/** Rewrites some keys of a JSON file; `undefined` removes one. */
export function editJson(file: string, changes: Readonly<Record<string, unknown>>): void {
  const json = JSON.parse(readFileSync(file, 'utf8')) as Record<string, unknown>;
  writeFileSync(file, JSON.stringify({ ...json, ...changes }));
}
