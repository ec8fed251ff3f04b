// Runs the parts of the suite that a setting of the surroundings can influence, once for each setting: cells.mjs.
//
//   npm run test:matrix                          all cells (an hour and more)
//   npm run test:matrix -- --only NAME[,NAME]    cells whose names begin so
//   npm run test:matrix -- --ci                  the short matrix
//   npm run test:matrix -- --list                all names, and what would be left out
//
// It works on copies of the project under build/, so that kernels for other processors disturb nobody. A line a cell:
// name, how it ended, tests, seconds; failing tests below it. Ctrl-C ends it with the summary of what is done. The exit
// code is 1 where a cell failed, 130 where it was interrupted.
import { spawn } from 'node:child_process';
import { mkdirSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { CELLS, CONTROLLED } from './cells.mjs';
import { copyProject } from './copy.mjs';
import { readResults } from './results.mjs';

const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
const work = join(root, 'build', `matrix-${process.pid}`);
const say = (text) => process.stdout.write(`${text}\n`);

const { values: options } = parseArgs({
  options: { only: { type: 'string' }, ci: { type: 'boolean' }, list: { type: 'boolean' } },
});

let child;
let interrupted = false;
for (const signal of ['SIGINT', 'SIGTERM']) {
  process.on(signal, () => {
    interrupted = true;
    if (child?.pid) process.kill(-child.pid, 'SIGKILL');
  });
}

/** Runs a program in a group of its own; gives its exit code, and what it wrote to either stream. */
function execute(command, args, cwd, env) {
  return new Promise((resolve) => {
    child = spawn(command, args, { cwd, env, detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text) => {
        output += text;
      });
    }
    child.on('error', ({ message }) => resolve({ code: 1, output: message }));
    child.on('close', (code) => resolve({ code, output }));
  });
}

function chosen() {
  const names = options.only?.split(',');
  if (options.list) return CELLS;
  const cells = CELLS.filter((cell) =>
    names
      ? names.some((name) => cell.name.startsWith(name))
      : Boolean(cell.ci) === Boolean(options.ci),
  );
  const unknown = names?.filter((name) => !CELLS.some((cell) => cell.name.startsWith(name))) ?? [];
  if (unknown.length === 0) return cells;
  process.stderr.write(`There is no cell ${unknown.join(', ')}: --list shows those there are.\n`);
  process.exit(2);
}

/** The environment without what cells set. */
const plain = { ...process.env };
for (const name of CONTROLLED) delete plain[name];

const copies = new Map();
/** The copy of the project in a folder of this name, with everything set up. */
async function placeOf(folder = 'project') {
  if (copies.has(folder)) return copies.get(folder);
  const place = join(work, folder);
  const started = Date.now();
  copyProject(root, place);
  const { code, output } = await execute('npm', ['run', '--silent', 'weights'], place, plain);
  if (code !== 0 && !interrupted)
    throw new Error(`a copy of the project is not set up:\n${output}`);
  say(`(a copy in "${folder}" set up, ${Math.round((Date.now() - started) / 1000)} s)`);
  copies.set(folder, place);
  return place;
}

/** Runs one cell: how many tests passed and were skipped, what failed, or why it was left out. */
async function runCell(cell, place) {
  const prepared = (await cell.prepare?.()) ?? {};
  if (typeof prepared === 'string') return { why: prepared, failures: [] };
  const env = { ...plain, ...cell.env, ...prepared.env };
  const node = prepared.node ?? process.execPath;
  const results = { passed: 0, skipped: 0, failures: [] };
  const add = ({ passed, skipped, failures }) => {
    results.passed += passed;
    results.skipped += skipped;
    results.failures.push(...failures);
  };
  if (cell.native) {
    const script = join('test', 'matrix', 'native', 'run.mjs');
    add(readResults(await execute(node, [script, cell.native], place, env)));
  }
  if (cell.tests && !interrupted) {
    const json = join(work, 'vitest.json');
    rmSync(json, { force: true });
    const vitest = join('node_modules', 'vitest', 'vitest.mjs');
    const args = [
      vitest,
      'run',
      ...cell.tests,
      '--reporter=default',
      '--reporter=json',
      `--outputFile.json=${json}`,
    ];
    add(readResults(await execute(node, args, place, env), json, place));
  }
  return results;
}

const cells = chosen();
const counts = { passed: 0, failed: 0, 'left out': 0 };
const notable = [];
try {
  mkdirSync(work, { recursive: true });
  for (const cell of cells) {
    if (options.list) {
      const prepared = await cell.prepare?.();
      say(`${cell.name}${typeof prepared === 'string' ? `: left out, ${prepared}` : ''}`);
      continue;
    }
    const place = await placeOf(cell.folder);
    if (interrupted) break;
    const started = Date.now();
    const { why, passed, skipped, failures } = await runCell(cell, place);
    if (interrupted) break;
    const ended = why ? 'left out' : failures.length > 0 ? 'failed' : 'passed';
    counts[ended]++;
    const seconds = Math.round((Date.now() - started) / 1000);
    const tests = `${passed} tests${skipped > 0 ? `, ${skipped} not run` : ''}`;
    const how = why ? `left out: ${why}` : `${ended}, ${tests}, ${seconds} s`;
    const line = `${cell.name.padEnd(16)} ${how}`;
    say(line);
    for (const failure of failures) say(`    ${failure.split('\n').join('\n    ')}`);
    if (ended !== 'passed') notable.push(line);
  }
} finally {
  rmSync(work, { recursive: true, force: true });
}
if (!options.list) {
  for (const line of notable) say(line);
  const undone = cells.length - counts.passed - counts.failed - counts['left out'];
  const rest = undone > 0 ? `, ${undone} not run (interrupted)` : '';
  say(
    `Cells: ${counts.passed} passed, ${counts.failed} failed, ${counts['left out']} left out${rest}`,
  );
}
process.exitCode = interrupted ? 130 : counts.failed > 0 ? 1 : 0;
