import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { copyOf, editJson, temporaryFolder } from './folders.js';
import { addTokenizer, TINY_TEMPLATE } from './tiny-tokenizer.js';

export interface TinyExperiment {
  /** The configuration's file */
  readonly file: string;
  readonly modelDir: string;
  /** A folder for runs that does not exist yet */
  newRun(): string;
}

/** An experiment on a tiny random model, with short queries; `config` adds to its configuration, or replaces parts. */
export function tinyExperiment(
  config: Readonly<Record<string, unknown>> = {},
  items = 6,
): TinyExperiment {
  const dir = temporaryFolder();
  const modelDir = copyOf('tiny-llama');
  addTokenizer(modelDir, TINY_TEMPLATE);
  editJson(join(modelDir, 'config.json'), { max_position_embeddings: 256 });
  const data = join(dir, 'data.jsonl');
  const rows = Array.from({ length: items }, (_, i) => ({ id: `q${i}`, text: `What is ${i}?` }));
  writeFileSync(data, rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
  const file = join(dir, 'tiny.json');
  const whole = {
    model: { dir: modelDir },
    data: { file: data, fields: { id: 'id', query: 'text' } },
    instruction: 'Be kind.',
    methods: ['instructed', 'sda'],
    decoding: { max_tokens: 12 },
    evaluator: { kind: 'stand-in' },
    judge: { kind: 'stand-in' },
    batch: 3,
    ...config,
  };
  writeFileSync(file, JSON.stringify(whole));
  let runs = 0;
  return { file, modelDir, newRun: () => join(dir, `run-${runs++}`) };
}

/** All that a run's folder says of its results: file names and contents. */
export function resultsOf(dir: string): Record<string, string> {
  const names = [
    'run.json',
    'items.jsonl',
    ...readdirSync(join(dir, 'rows')).map((name) => join('rows', name)),
  ];
  return Object.fromEntries(names.map((name) => [name, readFileSync(join(dir, name), 'utf8')]));
}

/** All files below a folder, as one text each. */
export function everyFile(dir: string): string[] {
  return readdirSync(dir, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => readFileSync(join(entry.parentPath, entry.name), 'utf8'));
}

export function emptyFolder(): string {
  const dir = join(temporaryFolder(), 'empty');
  mkdirSync(dir);
  return dir;
}
