import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import ts from 'typescript';
import { afterAll, expect, test } from 'vitest';
import { packageRoot } from '../../src/runtime/paths.js';
import { checkpointDir } from '../support/checkpoints.js';
import { editJson } from '../support/folders.js';
import { addTokenizer, TINY_TEMPLATE } from '../support/tiny-tokenizer.js';

const FOLDER = join(packageRoot(), 'docs', 'notebook');
interface Cell {
  readonly cell_type: 'code' | 'markdown';
  readonly source: string[];
  readonly outputs?: unknown[];
}
const { cells } = JSON.parse(readFileSync(join(FOLDER, 'two-rules.ipynb'), 'utf8')) as {
  cells: Cell[];
};

/** A cell whose last value, where it has one, goes to `kernelShows`, as a kernel shows it. */
function asProgram(source: string): string {
  const file = ts.createSourceFile('cell.ts', source, ts.ScriptTarget.ES2022, true);
  const last = file.statements.at(-1)!;
  if (!ts.isExpressionStatement(last)) return source;
  return `${source.slice(0, last.getStart())}kernelShows(${last.expression.getText()});\n`;
}

const SHOWN = `
const pictures = [];
function kernelShows(value) {
  const display = value?.[Symbol.for('Jupyter.display')];
  pictures.push(display ? display.call(value)['text/html'] : String(value));
}`;

const model = mkdtempSync(join(tmpdir(), 'sda-notebook-'));
afterAll(() => rmSync(model, { recursive: true, force: true }));

test('the notebook is stored without outputs, and names its kernel', () => {
  for (const cell of cells) expect(cell.outputs ?? []).toEqual([]);
  const text = readFileSync(join(FOLDER, 'two-rules.ipynb'), 'utf8');
  expect(JSON.parse(text).metadata.kernelspec.name).toBe('deno');
});

test('its cells run in Deno, which loads the native addons, and draw six shaded answers', {
  timeout: 300_000,
}, ({ skip }) => {
  const deno = createRequire(import.meta.url).resolve('deno/bin.cjs');
  const version = spawnSync(process.execPath, [deno, '--version'], { encoding: 'utf8' });
  skip(version.status !== 0, 'npm has no Deno for this machine');
  cpSync(checkpointDir('tiny-llama'), model, { recursive: true });
  addTokenizer(model, TINY_TEMPLATE);
  editJson(join(model, 'config.json'), { max_position_embeddings: 1024 });
  const code = cells.filter(({ cell_type: type }) => type === 'code');
  const program = [
    SHOWN,
    ...code.map(({ source }) => asProgram(source.join(''))),
    'console.log(JSON.stringify(pictures));',
  ].join('\n');
  const { stdout, stderr, status } = spawnSync(process.execPath, [deno, 'run', '-A', '-'], {
    cwd: FOLDER,
    env: { ...process.env, SDA_NOTEBOOK_MODEL: model, NO_COLOR: '1' },
    input: program,
    encoding: 'utf8',
  });
  expect(status, stderr).toBe(0);
  const [loaded, lengths, table, one] = JSON.parse(stdout.trim().split('\n').at(-1)!) as string[];
  expect(loaded).toMatch(/: 2 layers, vocabulary 131$/);
  expect(lengths!.split(',').filter((each) => /tokens/.test(each))).toHaveLength(6);
  expect(table!.match(/sda, mode sda, k 0.5, a 0.200: \d+ tokens/g)).toHaveLength(3);
  expect(table!.match(/cfg: \d+ tokens/g)).toHaveLength(3);
  expect(table!.match(/background:rgba\(240,150,50,0\.\d+\)/g)!.length).toBeGreaterThan(50);
  expect(table).toContain(one);
});
