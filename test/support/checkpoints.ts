import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { packageRoot } from '../../src/runtime/paths.js';

/** The tiny random checkpoints; test/fixtures/checkpoints/README.md says what each covers. */
export const TINY_MODELS = ['tiny-llama', 'tiny-llama-tied', 'tiny-qwen2', 'tiny-qwen3'] as const;
export type TinyModel = (typeof TINY_MODELS)[number];

/** One greedy SDA step as golden.json has it. */
export interface GoldenStep {
  readonly id: number;
  readonly js: number;
  readonly temperature: number;
  readonly logp_base: number;
  readonly logp_instructed: number;
  readonly logp: number;
}

/** golden.json; the format is described in test/fixtures/checkpoints/README.md. */
export interface Golden {
  readonly greedy: {
    readonly prompt: number[];
    readonly ids: number[];
    readonly logits: number[][];
  };
  readonly forced: {
    readonly ids: number[];
    readonly rows: { readonly prompt: number[]; readonly logits: number[][] }[];
  };
  readonly sda: {
    readonly base: number[];
    readonly instructed: number[];
    readonly k: number;
    readonly a: number;
    readonly t0: number;
    readonly tmin: number;
    readonly runs: Readonly<
      Record<'sigma_0.01' | 'sigma_2ln2', { readonly sigma: number; readonly steps: GoldenStep[] }>
    >;
  };
}

export function tinyModelDir(name: TinyModel): string {
  return join(packageRoot(), 'test', 'fixtures', 'checkpoints', name);
}

export function readGolden(name: TinyModel): Golden {
  return JSON.parse(readFileSync(join(tinyModelDir(name), 'golden.json'), 'utf8')) as Golden;
}

/** An empty folder that is removed when the current test ends. */
export function temporaryFolder(): string {
  const dir = mkdtempSync(join(tmpdir(), 'sda-test-'));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

/** A copy of a checkpoint that the current test may change. */
export function copyOf(name: TinyModel): string {
  const dir = join(temporaryFolder(), name);
  cpSync(tinyModelDir(name), dir, { recursive: true });
  return dir;
}

/** Rewrites some keys of a JSON file; `undefined` removes one. */
export function editJson(file: string, changes: Readonly<Record<string, unknown>>): void {
  const json = JSON.parse(readFileSync(file, 'utf8')) as Record<string, unknown>;
  writeFileSync(file, JSON.stringify({ ...json, ...changes }));
}
