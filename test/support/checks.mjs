// What the C++ checks of the kernels are built with, for CUDA (test/cuda/run.mjs) and for processors
// (test/matrix/native/run.mjs).
import { spawn, spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..');

/** Writes the golden cases of the SDA step as C++ initialisers: `<build>/golden.inc`. */
export function writeGolden(build) {
  const { cases } = JSON.parse(readFileSync(join(root, 'test/fixtures/sda_step.json'), 'utf8'));
  const value = (x) => (x === '-Infinity' || x === null ? '-infinity' : `${x}`);
  const list = (values) => `{${values.map(value).join(', ')}}`;
  const lines = cases.map(
    (c) =>
      `{${JSON.stringify(c.name)}, ${list(c.base)}, ${list(c.instructed)}, ${c.k}, ${c.a}, ${c.t0}, ${c.sigma}, ${c.tmin}, ${c.js}, ${c.temperature}, ${list(c.probs)}},`,
  );
  writeFileSync(join(build, 'golden.inc'), `${lines.join('\n')}\n`);
}

/** Runs a program with this one's streams, and ends this one where it fails. */
export function run(command, args) {
  const { status, error } = spawnSync(command, args, { stdio: 'inherit' });
  if (error) throw error;
  if (status !== 0) process.exit(status ?? 1);
}

/**
 * Compiles each source, several at a time, and links them where there is an output.
 *
 * @param more flags of one source, behind those of all
 * @throws Error that names the source
 */
export async function compile(compiler, flags, sources, { build, link, output, more = () => [] }) {
  const objects = join(build, `objects-${process.pid}`);
  mkdirSync(objects, { recursive: true });
  const object = (index) => join(objects, `${index}.o`);
  const waiting = [...sources.entries()];
  const next = async () => {
    for (let job = waiting.shift(); job; job = waiting.shift()) {
      const [index, source] = job;
      const args = [...flags, ...more(source), '-c', source, '-o', object(index)];
      const status = await new Promise((resolve) => {
        spawn(compiler, args, { stdio: 'inherit' }).on('close', resolve).on('error', resolve);
      });
      if (status !== 0) {
        waiting.length = 0;
        throw new Error(`${relative(root, source)} does not compile with ${compiler}`);
      }
      if (!output) process.stdout.write(`compiled ${relative(root, source)}\n`);
    }
  };
  try {
    await Promise.all(Array.from({ length: availableParallelism() }, next));
    if (output) run(compiler, [...link, ...sources.map((_, index) => object(index)), '-o', output]);
  } finally {
    rmSync(objects, { recursive: true });
  }
}
