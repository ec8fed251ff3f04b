// Builds the CUDA kernels with their checks and runs them: on a GPU with nvcc, or emulated on the CPU.
//
//   node test/cuda/run.mjs              with nvcc (PATH, CUDA_HOME, /usr/local/cuda), on this machine's GPU
//   node test/cuda/run.mjs --emulate    with g++ or CXX, on the CPU: results only
//   node test/cuda/run.mjs --compile    with nvcc, for all architectures, without running
//
// It ends with a line "N passed, N failed". SDA_VERBOSE=1 prints every case. Nothing else is needed: no TensorFlow, no
// model.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
const root = join(here, '..', '..');
const build = join(root, 'build', 'cuda');

const kernels = readdirSync(join(root, 'kernels'))
  .map((name) => join(root, 'kernels', name, 'cuda.cu'))
  .filter((file) => existsSync(file));
const checks = readdirSync(here)
  .filter((file) => file.endsWith('.cu'))
  .map((file) => join(here, file));

/** The golden cases as C++ initialisers. */
function golden() {
  const { cases } = JSON.parse(readFileSync(join(root, 'test/fixtures/sda_step.json'), 'utf8'));
  const value = (x) => (x === '-Infinity' || x === null ? '-infinity' : `${x}`);
  const list = (values) => `{${values.map(value).join(', ')}}`;
  const lines = cases.map(
    (c) =>
      `{${JSON.stringify(c.name)}, ${list(c.base)}, ${list(c.instructed)}, ${c.k}, ${c.a}, ${c.t0}, ${c.sigma}, ${c.tmin}, ${c.js}, ${c.temperature}, ${list(c.probs)}},`,
  );
  writeFileSync(join(build, 'golden.inc'), `${lines.join('\n')}\n`);
}

function nvcc() {
  const { CUDA_HOME, PATH = '' } = process.env;
  const folders = [...PATH.split(':'), ...(CUDA_HOME ? [join(CUDA_HOME, 'bin')] : []), '/usr/local/cuda/bin'];
  return folders.map((folder) => join(folder, 'nvcc')).find((file) => existsSync(file));
}

function run(command, args) {
  const { status, error } = spawnSync(command, args, { stdio: 'inherit' });
  if (error) throw error;
  if (status !== 0) process.exit(status ?? 1);
}

/** Architectures of the kernels in a release: code for each, and PTX for later ones. */
const ARCHITECTURES = ['80', '86', '89', '90'].flatMap((sm) => [
  '-gencode',
  `arch=compute_${sm},code=sm_${sm}`,
]);
const PTX = ['-gencode', 'arch=compute_90,code=compute_90'];

mkdirSync(build, { recursive: true });
golden();
const option = process.argv[2];
const output = join(build, option === '--emulate' ? 'check-emulated' : 'check');
if (option === '--emulate') {
  const flags = ['-std=c++17', '-O2', '-g', '-Wall', '-Werror', '-Wno-unknown-pragmas', '-DSDA_CUDA_EMULATE', '-I', build];
  const compiler = process.env.CXX ?? 'g++';
  run(compiler, [...flags, '-x', 'c++', ...kernels, ...checks, '-o', output]);
  run(output, []);
} else {
  const compiler = nvcc();
  if (!compiler) {
    console.error('There is no nvcc on PATH, in CUDA_HOME or in /usr/local/cuda: install the CUDA toolkit, or run with --emulate.');
    process.exit(2);
  }
  const native = option === '--compile' ? [...ARCHITECTURES, ...PTX] : ['-arch=native'];
  const library = join(dirname(compiler), '..', 'lib'); // where PyPI's packages have it
  const libraries = existsSync(library) ? ['-L', library] : [];
  run(compiler, ['-std=c++17', '-O3', ...libraries, ...native, '-I', build, ...kernels, ...checks, '-o', output]);
  if (option !== '--compile') run(output, []);
}
