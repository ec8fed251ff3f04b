import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { defaultModelDir } from '../../src/runtime/paths.js';

/** What the Python library `tokenizers` gives; see test/fixtures/text/make.py. */
export interface Golden {
  readonly encoded: readonly { text: string; ids: number[]; special: number[] }[];
  /** The chat template's prompt for some conversations; absent where there is no template. */
  readonly prompts?: readonly {
    messages: { role: 'system' | 'user' | 'assistant'; content: string }[];
    add_generation_prompt: boolean;
    text: string;
    ids: number[];
  }[];
  readonly decoded: readonly { ids: number[]; text: string; skipped: string }[];
}

const FIXTURES = fileURLToPath(new URL('../fixtures/text/', import.meta.url));

/** The folder of a tiny tokenizer. */
export const tiny = (name: string) => `${FIXTURES}tiny/${name}`;

/** Every tokenizer with golden results, and its folder. */
export const FOLDERS: readonly (readonly [string, string])[] = [
  ...['byte-level', 'byte-fallback', 'metaspace'].map((name) => [name, tiny(name)] as const),
  ['smollm2', defaultModelDir()],
];

const cases: Readonly<Record<string, Golden>> = {
  ...JSON.parse(readFileSync(`${FIXTURES}golden-tiny.json`, 'utf8')).cases,
  ...JSON.parse(readFileSync(`${FIXTURES}golden-real.json`, 'utf8')).cases,
};

export function readGolden(name: string): Golden {
  const golden = cases[name];
  if (!golden) throw new Error(`no golden results for ${name}`);
  return golden;
}
