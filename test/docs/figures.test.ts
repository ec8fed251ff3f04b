import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { packageRoot } from '../../src/runtime/paths.js';
import { PAGES, pageText, proseOf } from './blocks.js';

const FIGURES = join(packageRoot(), 'docs', 'figures');
const RECORDED = join(FIGURES, 'recorded');
const drawn = mkdtempSync(join(tmpdir(), 'sda-figures-'));
afterAll(() => rmSync(drawn, { recursive: true, force: true }));

const named = (folder: string, end: string) =>
  readdirSync(folder)
    .filter((name) => name.endsWith(end))
    .sort();
/** What stands first in a recorded file: what it is, where and when it was measured */
const headOf = (name: string) => {
  const text = readFileSync(join(RECORDED, name), 'utf8');
  return JSON.parse(name.endsWith('l') ? text.split('\n', 1)[0]! : text) as Record<string, unknown>;
};

test('the pictures are those that the recorded runs give, to the byte', () => {
  execFileSync(process.execPath, [join(FIGURES, 'draw.mjs'), drawn]);
  expect(named(drawn, '.svg')).toEqual(named(FIGURES, '.svg'));
  expect(named(drawn, '.svg').map((name) => name.split('.')[0])).toEqual(
    readdirSync(RECORDED)
      .map((name) => name.split('.')[0])
      .sort(),
  );
  for (const name of named(drawn, '.svg')) {
    const found = readFileSync(join(drawn, name), 'utf8');
    expect(found, name).toBe(readFileSync(join(FIGURES, name), 'utf8'));
  }
});

test('every picture says its command, processor and date, and stands on a page', () => {
  const pages = PAGES.map(pageText).join('\n');
  for (const name of readdirSync(RECORDED)) {
    const { command, processor, date } = headOf(name);
    expect(command).toMatch(/^(npx sda|npm run) /);
    expect(processor).toMatch(/Xeon|EPYC|H200/);
    expect(date).toMatch(/^\d{4}-\d\d-\d\d$/);
    const [stem] = name.split('.');
    const svg = readFileSync(join(FIGURES, `${stem}.svg`), 'utf8');
    const words = svg.replace(/<style>.*?<\/style>|<[^>]*>/g, '\n').replaceAll('&quot;', '"');
    for (const each of [command, processor, date]) expect(words).toContain(each);
    expect(pages).toContain(`figures/${stem}.svg)`);
  }
});

test('numbers in the pictures are those that were recorded', () => {
  const texts = (name: string) =>
    [...readFileSync(join(FIGURES, `${name}.svg`), 'utf8').matchAll(/<text[^>]*>([^<]*)</g)].map(
      ([, text]) => text!,
    );
  const peers = headOf('peers.json').tokensPerSecond as Record<string, number>;
  for (const value of Object.values(peers)) expect(texts('peers')).toContain(value.toFixed(1));
  const steps = headOf('step.json').tokensPerSecond as Record<string, number>;
  for (const speed of Object.values(steps)) {
    expect(texts('step')).toContain(
      `${(1000 / speed).toFixed(1)} ms, ${speed.toFixed(1)} tokens/s`,
    );
  }
  const { dtypes } = headOf('bits.json') as {
    dtypes: { dtype: string; accuracy: { kl_base: number; kl_steered: number } | null }[];
  };
  for (const { dtype, accuracy } of dtypes) {
    if (accuracy === null) continue;
    for (const kl of [accuracy.kl_base, accuracy.kl_steered]) {
      expect(texts('bits')).toContain(`${dtype} ${kl.toPrecision(2)}`);
    }
  }
});

/** A cell with something that was timed */
const TIMED = /\d (tokens\/s|ms|us|s)\b|\d tokens\/s|\bnats a token/;

test('every table of measurements is followed by its command, processor and date', () => {
  let tables = 0;
  for (const page of PAGES.filter((name) => name !== 'README.md')) {
    for (const [table, after] of tablesOf(proseOf(page))) {
      if (!TIMED.test(table)) continue;
      tables++;
      expect(after.replace(/\s+/g, ' '), `${page}: ${table.split('\n', 1)[0]}`).toMatch(
        /^Measured: .*`[^`]+`.*; .*(EPYC|Xeon|H200).*; \d{1,2} \w+ \d{4}\.$/,
      );
    }
  }
  expect(tables).toBeGreaterThan(2);
});

/** Tables of a page, each with the paragraph after it. */
function tablesOf(text: string): [table: string, after: string][] {
  const parts = text.split(/\n{2,}/);
  return parts.flatMap((part, index) =>
    part.startsWith('|') ? [[part, parts[index + 1] ?? ''] as [string, string]] : [],
  );
}
