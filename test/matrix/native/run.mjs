// Builds the CPU's operations for one kind of processor, without TensorFlow, and holds them to float64.
//
//   node test/matrix/native/run.mjs ARCH    x86-64-v2, x86-64-v3, x86-64-v4, native, portable or aarch64
//
// aarch64 elsewhere: by aarch64-linux-gnu-g++ and qemu-aarch64-static (Debian: g++-aarch64-linux-gnu, qemu-user-static).
// CXX names another compiler. The processor must have what ARCH asks for. It ends with a line "N passed, N failed".
// SDA_VERBOSE=1 prints every case, SDA_CHECK_THREADS=N sets the threads.
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { kernelFlags } from '../../../dist/src/setup/addons.js';
import { compile, run, writeGolden } from '../../support/checks.mjs';

const here = dirname(fileURLToPath(import.meta.url));
const root = join(here, '..', '..', '..');
const arch = process.argv[2] ?? 'native';
const crossed = arch === 'aarch64' && process.arch !== 'arm64';
const compiler = process.env.CXX ?? (crossed ? 'aarch64-linux-gnu-g++' : 'g++');
const build = join(root, 'build', 'native', arch);

/** Operations with what they call, and the checks that are not about CUDA alone. */
const operations = readdirSync(join(root, 'kernels'), { withFileTypes: true })
  .filter((entry) => entry.isDirectory())
  .flatMap(({ name }) =>
    readdirSync(join(root, 'kernels', name)).map((file) => join(root, 'kernels', name, file)),
  )
  .filter((file) => file.endsWith('.cc') && !file.endsWith('op_gpu.cc'));
const checks = ['upload', 'embed', 'step', 'sample', 'cut', 'linear', 'decoder-layer'].map((name) =>
  join(root, 'test', 'cuda', `${name}.cu`),
);
const own = ['launches.cc', 'main.cc', 'stand_in.cc'].map((file) => join(here, file));

/** Headers of TensorFlow's names that are the stand-in. */
function writeHeaders() {
  const files = readdirSync(join(root, 'kernels'), { recursive: true })
    .filter((file) => /\.(h|cc)$/.test(file))
    .map((file) => readFileSync(join(root, 'kernels', file), 'utf8'));
  const names = files.flatMap((text) => [
    ...text.matchAll(/^#include "((tensorflow|absl)\/.*)"/gm),
  ]);
  for (const [, name] of names) {
    mkdirSync(dirname(join(build, name)), { recursive: true });
    writeFileSync(join(build, name), '#include "stand_in.h"\n');
  }
}

mkdirSync(build, { recursive: true });
writeGolden(build);
writeHeaders();
const flags = crossed
  ? kernelFlags('arm64', { SDA_ARCH: 'portable' })
  : kernelFlags(process.arch, { SDA_ARCH: arch });
const output = join(build, 'check');
await compile(compiler, [...flags, '-I', build, '-I', here], [...operations, ...checks, ...own], {
  build,
  link: [...flags, '-static', '-pthread'],
  output,
  more: (source) => (source.endsWith('.cu') ? ['-DSDA_CUDA_EMULATE', '-x', 'c++'] : []),
});
if (crossed) run('qemu-aarch64-static', [output]);
else run(output, []);
