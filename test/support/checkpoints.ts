import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { TokenBatch } from '../../src/model/decoder.js';

/** The tiny random checkpoints; see the README beside them. */
export const CHECKPOINTS = [
  'tiny-llama',
  'tiny-llama-tied',
  'tiny-qwen2',
  'tiny-qwen3',
  'tiny-phi3',
  'tiny-smollm3',
  'tiny-granite',
  'tiny-olmo2',
] as const;
export type CheckpointName = (typeof CHECKPOINTS)[number];

const FIXTURES = fileURLToPath(new URL('../fixtures', import.meta.url));

/** The folder of a tiny checkpoint. */
export function checkpointDir(name: CheckpointName): string {
  return join(FIXTURES, 'checkpoints', name);
}

/** What transformers gets from a checkpoint; the README explains the keys. */
export interface Golden {
  readonly greedy: {
    readonly prompt: number[];
    readonly ids: number[];
    readonly logits: number[][];
  };
  readonly forced: {
    readonly ids: number[];
    readonly rows: readonly { readonly prompt: number[]; readonly logits: number[][] }[];
  };
  readonly sda: {
    readonly base: number[];
    readonly instructed: number[];
    readonly k: number;
    readonly a: number;
    readonly t0: number;
    readonly tmin: number;
    readonly runs: Readonly<
      Record<string, { readonly sigma: number; readonly steps: GoldenStep[] }>
    >;
  };
  readonly bfloat16_error: number;
}

export interface GoldenStep {
  readonly id: number;
  readonly js: number;
  readonly temperature: number;
  readonly logp_base: number;
  readonly logp_instructed: number;
  readonly logp: number;
}

export function golden(name: CheckpointName): Golden {
  return JSON.parse(readFileSync(join(checkpointDir(name), 'golden.json'), 'utf8')) as Golden;
}

/** The tiny Mistral with a sliding window, and what transformers gets from it. */
export const MISTRAL_DIR = join(FIXTURES, 'mistral', 'tiny-mistral');
export function mistralGolden(): Pick<Golden, 'greedy'> {
  return JSON.parse(readFileSync(join(MISTRAL_DIR, 'golden.json'), 'utf8')) as Golden;
}

/** New tokens of some rows, padded on the left; the first token of line i stands at `starts[i]`. */
export function batchOf(
  lines: readonly (readonly number[])[],
  starts: readonly number[],
  rows: readonly number[] = lines.map((_, row) => row),
): TokenBatch {
  const width = Math.max(...lines.map((line) => line.length));
  const pad = (line: readonly number[], fill: number) => [
    ...Array<number>(width - line.length).fill(fill),
    ...line,
  ];
  return {
    ids: Int32Array.from(lines.flatMap((line) => pad(line, 0))),
    positions: Int32Array.from(
      lines.flatMap((line, i) =>
        pad(
          line.map((_, token) => starts[i]! + token),
          -1,
        ),
      ),
    ),
    rows: Int32Array.from(rows),
  };
}
