import { cpSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { temporaryFolder } from './folders.js';

/** Tiny checkpoints with quantised weights of other makers; see `make.py` beside them. */
export const HUB = [
  'gptq-v1',
  'gptq-v2-act-order',
  'gptq-int8',
  'gptq-phi3',
  'awq',
  'compressed-w4a16',
  'compressed-w4a16-act-order',
  'compressed-w8a16',
  'compressed-w8a8',
  'compressed-fp8-tensor',
  'compressed-fp8-channel',
  'compressed-fp8-block',
  'fp8-blocks',
  'nf4',
  'nf4-nested',
] as const;
export type HubName = (typeof HUB)[number];

/** Those of whole numbers, which the kernels take as they are. */
export const CARRIED = HUB.filter((name) => !/fp8|nf4/.test(name));
/** The others. */
export const ROUNDED = HUB.filter((name) => /fp8|nf4/.test(name));

const FIXTURES = fileURLToPath(new URL('../fixtures/hub', import.meta.url));

export function hubDir(name: HubName): string {
  return join(FIXTURES, name);
}

/** A copy that the current test may change. */
export function hubCopy(name: HubName): string {
  const dir = join(temporaryFolder(), name);
  cpSync(hubDir(name), dir, { recursive: true });
  return dir;
}

/** What Python gets from a checkpoint; `make.py` explains the keys. */
export interface HubGolden {
  readonly prompt: number[];
  readonly ids: number[];
  readonly weights: Readonly<Record<string, string>>;
  readonly logits: number[][];
  readonly rounded: number[][];
}

export function hubGolden(name: HubName): HubGolden {
  return JSON.parse(readFileSync(join(hubDir(name), 'golden.json'), 'utf8')) as HubGolden;
}
