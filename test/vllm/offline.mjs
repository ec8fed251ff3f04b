/** `sda run examples/offline.yaml` with a vLLM server for its engine: the rows of this machine, but for rounding. */
import { spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parse, stringify } from 'yaml';
import { packageRoot } from '../../dist/src/runtime/paths.js';
import { check } from './checks.mjs';

/** How far numbers of a trace may be from those of this machine; `near` adds what a trace rounds */
const WITHIN = { js: 1e-4, temperature: 1e-4, logpBase: 1e-3, logpInstructed: 1e-3, logp: 1e-3 };

export async function offline(vllm) {
  const folder = mkdtempSync(join(tmpdir(), 'sda-vllm-run-'));
  try {
    const example = join('examples', 'offline.yaml');
    const config = parse(readFileSync(join(packageRoot(), example), 'utf8'));
    const changed = join(folder, 'offline-vllm.yaml');
    const engine = { kind: 'vllm', base_url: vllm.url };
    writeFileSync(changed, stringify({ ...config, engine }));
    const [here, there] = [join(folder, 'here'), join(folder, 'there')];
    for (const [file, out] of [
      [example, here],
      [changed, there],
    ]) {
      const wrong = await sda(['run', file, '--out', out]);
      check(`sda run ${file === example ? example : 'the same with a vLLM engine'}`, wrong);
      if (wrong !== '') return;
    }
    for (const name of readdirSync(join(here, 'rows'))) {
      const [expected, found] = [here, there].map((run) => rowsOf(join(run, 'rows', name)));
      check(`offline.yaml: ${found.length} rows of ${name}`, differenceOf(found, expected));
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** The command line. @returns '' where it succeeds, else its last words */
function sda(args) {
  const child = spawn(process.execPath, ['dist/src/cli/main.js', ...args], {
    cwd: packageRoot(),
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let words = '';
  child.stderr.on('data', (part) => {
    words = (words + part).slice(-600);
  });
  return new Promise((resolve) => {
    child.on('close', (code) => resolve(code === 0 ? '' : `ended with ${code}: ${words}`));
  });
}

/** By item: answers end in another order there. */
function rowsOf(file) {
  const lines = readFileSync(file, 'utf8').split('\n').filter(Boolean);
  return lines.map((line) => JSON.parse(line)).sort((a, b) => (a.item < b.item ? -1 : 1));
}

function differenceOf(found, expected) {
  if (found.length !== expected.length) return `${expected.length} are expected`;
  for (const [index, row] of expected.entries()) {
    const [theirs, ours] = [withoutNumbers(found[index]), withoutNumbers(row)];
    if (theirs !== ours) return `${row.item} is ${theirs} there, ${ours} here`;
    for (const [name, within] of Object.entries(row.value.trace ? WITHIN : {})) {
      const [some, own] = [found[index].value.trace[name], row.value.trace[name]];
      const at = own.findIndex((value, token) => !near(some[token], value, within));
      if (at >= 0 || some.length !== own.length) {
        return `${name} of ${row.item}, token ${at}: ${some[at]}, expected ${own[at]}`;
      }
    }
  }
  return '';
}

/** A row without the numbers of its trace: the rest is the same to the letter. */
function withoutNumbers({ value, ...row }) {
  const { trace, ...rest } = value ?? {};
  return JSON.stringify({ ...row, value: { ...rest, trace: trace && { text: trace.text } } });
}

/** Within a distance, and the unit of the last of four digits that a trace keeps. */
function near(found, expected, within) {
  if (found === null || expected === null) return found === expected;
  const size = Math.max(Math.abs(found), Math.abs(expected), Number.MIN_VALUE);
  const unit = 10 ** (Math.floor(Math.log10(size)) - 3);
  return Math.abs(found - expected) <= within + unit * 1.001;
}
