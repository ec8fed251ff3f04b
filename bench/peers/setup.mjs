/** What the peers need, made once in the cache folder: a Python environment, node-llama-cpp, GGUF files. */
import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { cacheRoot } from '../../dist/src/runtime/paths.js';
import { runProcess } from '../../dist/src/setup/process.js';

const HERE = fileURLToPath(new URL('.', import.meta.url));
const CACHE = join(cacheRoot(), 'peers');
const NODE_LLAMA_CPP = '3.22.1';
/** Which package has llama.cpp built for this machine. */
const BINARIES = {
  'linux x64': 'linux-x64',
  'linux arm64': 'linux-arm64',
  'darwin arm64': 'mac-arm64-metal',
  'darwin x64': 'mac-x64',
};

/** The interpreter of `SDA_PEERS_PYTHON`, or of an environment with requirements.txt, made where it is missing. */
export async function pythonPath(say) {
  if (process.env.SDA_PEERS_PYTHON) return process.env.SDA_PEERS_PYTHON;
  const requirements = join(HERE, 'requirements.txt');
  const wanted = createHash('sha256').update(readFileSync(requirements)).digest('hex');
  const venv = join(CACHE, 'venv');
  const marker = join(venv, 'complete');
  const python = join(venv, 'bin', 'python');
  if (existsSync(marker) && readFileSync(marker, 'utf8') === wanted) return python;
  say(
    `installing PyTorch and transformers into ${venv} (up to 6 GB; SDA_PEERS_PYTHON takes yours instead)`,
  );
  rmSync(venv, { recursive: true, force: true });
  mkdirSync(CACHE, { recursive: true });
  await run('python3', ['-m', 'venv', venv]);
  await run(python, ['-m', 'pip', 'install', '--quiet', '--requirement', requirements]);
  writeFileSync(marker, wanted);
  return python;
}

/** The folder of the package node-llama-cpp, installed where it is missing (85 MB). */
export async function llamaPackage(say) {
  const platform = `${process.platform} ${process.arch}`;
  const binary = BINARIES[platform];
  if (!binary) throw new Error(`node-llama-cpp has no llama.cpp for ${platform}`);
  const dir = join(CACHE, `node-llama-cpp-${NODE_LLAMA_CPP}`);
  const found = join(dir, 'node_modules', 'node-llama-cpp');
  const marker = join(dir, 'complete');
  if (existsSync(marker)) return found;
  say(`installing node-llama-cpp into ${dir} (85 MB)`);
  rmSync(dir, { recursive: true, force: true });
  mkdirSync(dir, { recursive: true });
  writeFileSync(join(dir, 'package.json'), '{"private":true}\n');
  const packages = [
    `node-llama-cpp@${NODE_LLAMA_CPP}`,
    `@node-llama-cpp/${binary}@${NODE_LLAMA_CPP}`,
  ];
  // without the scripts and the builds for GPUs and other machines
  const flags = ['--ignore-scripts', '--omit=optional', '--no-audit', '--no-fund', '--save-exact'];
  await run('npm', ['install', ...flags, ...packages], { cwd: dir });
  writeFileSync(marker, NODE_LLAMA_CPP);
  return found;
}

/** The model's weights as a GGUF file, `kind` f32, bf16, q8_0 or q4_0, written where it is missing or older. */
export async function ggufFile(python, modelDir, kind, say) {
  const weights = join(modelDir, 'model.safetensors');
  if (!existsSync(weights))
    throw new Error('the GGUF writer takes a model in one model.safetensors');
  const { size, mtimeMs } = statSync(weights);
  const id = createHash('sha256')
    .update(`${modelDir} ${size} ${mtimeMs}`)
    .digest('hex')
    .slice(0, 12);
  const file = join(CACHE, 'gguf', `${basename(modelDir)}-${id}-${kind}.gguf`);
  if (existsSync(file)) return file;
  say(`writing ${file}`);
  mkdirSync(join(CACHE, 'gguf'), { recursive: true });
  await run(python, [join(HERE, 'write_gguf.py'), modelDir, kind, `${file}.part`]);
  renameSync(`${file}.part`, file);
  return file;
}

async function run(command, args, options) {
  const result = await runProcess(command, args, options);
  if (result === undefined) throw new Error(`${command} is not on the PATH`);
  if (result.code === 0) return;
  throw new Error(
    `${command} ${args.slice(0, 3).join(' ')}: ${result.stderr.trim().split('\n').at(-1)}`,
  );
}
