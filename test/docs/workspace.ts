import { type ChildProcess, spawn } from 'node:child_process';
import {
  chmodSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import ts from 'typescript';
import { packageRoot } from '../../src/runtime/paths.js';
import { checkpointDir } from '../support/checkpoints.js';
import { MAIN, NODE } from '../support/cli.js';
import { editJson } from '../support/folders.js';
import { addTokenizer, TINY_TEMPLATE } from '../support/tiny-tokenizer.js';

const ROOT = packageRoot();
const FIXTURES = join(ROOT, 'test', 'fixtures');
/** Packages of this project that a project which has installed it finds. */
const PACKAGES = ['@tensorflow', '@types', 'openai', 'typescript', 'zod'];
/** What a clone has besides, and pages name. */
const OF_THE_CLONE = ['bench', 'docs', 'examples', 'kernels', 'src', 'test', 'weights'];
/** The port that pages write; each workspace has a free one in its place. */
const PORT = '8000';

export interface Ran {
  readonly code: number | null;
  readonly stdout: string;
  /** stdout and stderr as they came */
  readonly all: string;
}

/** A folder in which the blocks of a page run in turn, as in a reader's own project beside the clone. */
export class Workspace {
  readonly dir = mkdtempSync(join(tmpdir(), 'sda-docs-'));
  private readonly servers: ChildProcess[] = [];
  private port: string | undefined;

  constructor() {
    const modules = join(this.dir, 'node_modules');
    mkdirSync(modules);
    for (const name of PACKAGES) symlinkSync(join(ROOT, 'node_modules', name), join(modules, name));
    symlinkSync(ROOT, join(modules, 'sda-tfjs'));
    for (const name of OF_THE_CLONE) symlinkSync(join(ROOT, name), join(this.dir, name));
    writeFileSync(join(this.dir, 'package.json'), '{"private":true,"type":"module"}');
    const bin = join(this.dir, '.bin');
    mkdirSync(bin);
    const npx = `#!/bin/sh\n[ "$1" = sda ] || { echo "npx $1 is not there" >&2; exit 127; }\nshift\nexec "${NODE}" "${MAIN}" "$@"\n`;
    writeFileSync(join(bin, 'npx'), npx);
    chmodSync(join(bin, 'npx'), 0o755);
    makeModels(join(this.dir, 'models'));
  }

  /** Saves a block, and returns its path. */
  save(name: string, text: string): string {
    const file = join(this.dir, name);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, this.local(text));
    return file;
  }

  /** Runs a JavaScript or TypeScript file of the workspace. */
  script(name: string, text: string): Promise<Ran> {
    this.save(name, text);
    if (!name.endsWith('.ts')) return this.run(NODE, [name]);
    const options = { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2022 };
    const { outputText } = ts.transpileModule(this.local(text), { compilerOptions: options });
    const made = name.replace(/\.ts$/, '.made.mjs');
    writeFileSync(join(this.dir, made), outputText);
    return this.run(NODE, [made]);
  }

  shell(script: string): Promise<Ran> {
    return this.run('bash', ['--norc', '-euo', 'pipefail', '-c', this.local(script)]);
  }

  /** Starts what goes on running, and waits for the address that it prints. */
  async start(script: string): Promise<void> {
    this.port ??= await freePort();
    const child = spawn(
      'bash',
      ['--norc', '-euo', 'pipefail', '-c', `exec ${this.local(script)}`],
      this.how(),
    );
    this.servers.push(child);
    let said = '';
    await new Promise<void>((resolve, reject) => {
      const hear = (text: Buffer) => {
        said += text;
        if (said.includes(`:${this.port}`)) resolve();
      };
      child.stdout!.on('data', hear);
      child.stderr!.on('data', hear);
      child.on('exit', (code) => reject(new Error(`ended with ${code}: ${said}`)));
    });
  }

  /** Ends what runs, and removes the folder. */
  async close(): Promise<void> {
    for (const child of this.servers) {
      const ended = new Promise((resolve) => child.once('exit', resolve));
      if (child.exitCode === null && child.kill()) await ended;
    }
    rmSync(this.dir, { recursive: true, force: true });
  }

  /** With this workspace's port in place of the pages' own. */
  private local(text: string): string {
    if (this.port === undefined) return text;
    return text
      .replaceAll(`:${PORT}`, `:${this.port}`)
      .replaceAll(/^npx sda serve/gm, `npx sda serve --port ${this.port}`);
  }

  private how() {
    const path = `${join(this.dir, '.bin')}:${process.env.PATH}`;
    const { FORCE_COLOR: _, SDA_API_KEY: __, ...rest } = process.env;
    const env = { ...rest, PATH: path, NO_COLOR: '1' };
    return { cwd: this.dir, env, stdio: ['ignore', 'pipe', 'pipe'] as ['ignore', 'pipe', 'pipe'] };
  }

  private run(command: string, args: readonly string[]): Promise<Ran> {
    const child = spawn(command, args, this.how());
    let [stdout, all] = ['', ''];
    child.stdout.on('data', (text) => {
      stdout += text;
      all += text;
    });
    child.stderr.on('data', (text) => {
      all += text;
    });
    return new Promise((resolve, reject) => {
      child.on('error', reject);
      child.on('close', (code) => resolve({ code, stdout, all }));
    });
  }
}

const LLAMAS = [
  ['Llama-2-7b-chat-hf', 'tiny-llama'],
  ['TinyLlama-1.1B-Chat-v1.0', 'tiny-llama-tied'],
] as const;

/** Tiny models under the names that pages write, so that what runs is what is written. */
function makeModels(dir: string): void {
  const copy = (name: string, ...from: string[]) => {
    cpSync(join(FIXTURES, ...from), join(dir, name), { recursive: true });
    return join(dir, name);
  };
  for (const [name, from] of LLAMAS) {
    const model = join(dir, name);
    cpSync(checkpointDir(from), model, { recursive: true });
    addTokenizer(model, TINY_TEMPLATE);
    editJson(join(model, 'config.json'), { max_position_embeddings: 1024 });
  }
  copy('vicuna-7b-v1.5', 'import', 'vicuna');
  copy('lora', 'import', 'lora', 'rslora');
  copy('Llama-2-7B-Chat-GPTQ', 'hub', 'gptq-v2-act-order');
  copy('SmolLM3-3B.gguf', 'import', 'gguf', 'smollm3.gguf');
}

function freePort(): Promise<string> {
  return new Promise((resolve, reject) => {
    const server = createServer().on('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(String(port)));
    });
  });
}
