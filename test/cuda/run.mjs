// Builds the CUDA kernels with their checks and runs them: on a GPU with nvcc, or emulated on the CPU.
//
//   node test/cuda/run.mjs              with nvcc (PATH, CUDA_HOME, /usr/local/cuda), on this machine's GPU
//   node test/cuda/run.mjs --emulate    with g++ or CXX, on the CPU: results only
//   node test/cuda/run.mjs --sanitize   the same with the sanitizers of addresses and of undefined behaviour
//   node test/cuda/run.mjs --compile    with nvcc, the kernels for all architectures, without running
//   node test/cuda/run.mjs --fetch      puts nvcc from PyPI (about 270 MB) into the per-user cache, where it is then found
//
// It ends with a line "N passed, N failed". SDA_VERBOSE=1 prints every case. Nothing else is needed: no TensorFlow, no
// model.
import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { compile, run, writeGolden } from '../support/checks.mjs';

const here = dirname(fileURLToPath(import.meta.url));
const root = join(here, '..', '..');
const build = join(root, 'build', 'cuda');

const kernels = readdirSync(join(root, 'kernels'), { withFileTypes: true })
  .filter((entry) => entry.isDirectory())
  .map(({ name }) => join(root, 'kernels', name))
  .flatMap((folder) => readdirSync(folder).map((file) => join(folder, file)))
  .filter((file) => file.endsWith('.cu'));
const checks = readdirSync(here)
  .filter((file) => file.endsWith('.cu'))
  .map((file) => join(here, file));

/** PyPI's packages of one release of the toolkit: others do not go together. */
const PACKAGES = [
  'nvidia-cuda-nvcc==13.0.88',
  'nvidia-cuda-crt==13.0.88',
  'nvidia-nvvm==13.0.88',
  'nvidia-cuda-runtime==13.0.96',
  'nvidia-cuda-cccl==13.0.85',
];
const cache =
  process.env.SDA_CACHE_DIR ??
  join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'sda-tfjs');
const isComplete = (folder) => existsSync(join(folder, 'complete.json'));
/** Set-up's copy where there is one, else our own. */
const toolkits = [join(cache, 'cuda', 'nvcc-13.0'), join(cache, 'cuda-13.0')];
const toolkit = toolkits.find(isComplete) ?? toolkits[1];

function fetchToolkit() {
  if (isComplete(toolkit)) return;
  rmSync(toolkit, { recursive: true, force: true });
  const pip = [
    '-m',
    'pip',
    'install',
    '--quiet',
    '--no-deps',
    '--only-binary=:all:',
    '--target',
    toolkit,
  ];
  run('python3', [...pip, ...PACKAGES]);
  writeFileSync(join(toolkit, 'complete.json'), '{}');
}

function nvcc() {
  const { CUDA_HOME, PATH = '' } = process.env;
  const folders = [
    ...PATH.split(':'),
    ...(CUDA_HOME ? [join(CUDA_HOME, 'bin')] : []),
    '/usr/local/cuda/bin',
    ...(isComplete(toolkit) ? [join(toolkit, 'nvidia', 'cu13', 'bin')] : []),
  ];
  return folders.map((folder) => join(folder, 'nvcc')).find((file) => existsSync(file));
}

/** Architectures of the kernels in a release: code for each, and PTX for later ones. */
const ARCHITECTURES = ['80', '86', '89', '90'].flatMap((sm) => [
  '-gencode',
  `arch=compute_${sm},code=sm_${sm}`,
]);
const PTX = ['-gencode', 'arch=compute_90,code=compute_90'];

mkdirSync(build, { recursive: true });
const option = process.argv[2];
if (option === '--fetch') {
  fetchToolkit();
} else if (option === '--emulate' || option === '--sanitize') {
  writeGolden(build);
  const sanitize =
    option === '--sanitize' ? ['-fsanitize=address,undefined', '-fno-sanitize-recover', '-g'] : [];
  const warnings = ['-Wall', '-Werror', '-Wno-unknown-pragmas'];
  const flags = ['-std=c++17', '-O1', ...sanitize, ...warnings, '-DSDA_CUDA_EMULATE', '-I', build];
  const output = join(build, `check-${option.slice(2)}`);
  await compile(process.env.CXX ?? 'g++', [...flags, '-x', 'c++'], [...kernels, ...checks], {
    build,
    link: sanitize,
    output,
  });
  run(output, []);
} else {
  const compiler = nvcc();
  if (!compiler) {
    process.stderr.write(
      'There is no nvcc on PATH, in CUDA_HOME or in /usr/local/cuda: install the CUDA toolkit or run with --fetch first, or run with --emulate.\n',
    );
    process.exit(2);
  }
  const flags = ['-std=c++17', '-O3', '-I', build];
  if (option === '--compile') {
    await compile(compiler, [...flags, ...ARCHITECTURES, ...PTX], kernels, { build });
  } else {
    writeGolden(build);
    const library = join(dirname(compiler), '..', 'lib'); // where PyPI's packages have it
    const link = ['-arch=native', ...(existsSync(library) ? ['-L', library] : [])];
    const output = join(build, 'check');
    await compile(compiler, [...flags, '-arch=native'], [...kernels, ...checks], {
      build,
      link,
      output,
    });
    run(output, []);
  }
}
