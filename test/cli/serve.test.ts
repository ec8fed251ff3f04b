import { type ChildProcess, spawn } from 'node:child_process';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import OpenAI from 'openai';
import { afterAll, afterEach, describe, expect, test } from 'vitest';
import { MAIN, NODE, sda } from '../support/cli.js';
import { temporaryFolder } from '../support/folders.js';
import { tinyFolder } from '../support/tiny-tokenizer.js';

const KEY = 'sk-a-secret-of-the-environment-31337';

interface Process {
  readonly child: ChildProcess;
  readonly url: string;
  /** All that it has written */
  readonly written: () => string;
  readonly ended: Promise<number | null>;
}

const running: ChildProcess[] = [];
afterEach(() => {
  for (const child of running.splice(0)) child.kill('SIGKILL');
});

/** Starts `sda serve` on a free port and waits until it says where. */
async function start(args: readonly string[], env: Record<string, string> = {}): Promise<Process> {
  const child = spawn(NODE, [MAIN, 'serve', '--port', '0', ...args], {
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  running.push(child);
  let written = '';
  const ended = new Promise<number | null>((resolve) => child.on('close', resolve));
  const url = await new Promise<string>((resolve, reject) => {
    const see = (text: string) => {
      written += text;
      const found = /at (http:\S+)\/v1,/.exec(written)?.[1];
      if (found) resolve(found);
    };
    child.stdout.setEncoding('utf8').on('data', see);
    child.stderr.setEncoding('utf8').on('data', see);
    ended.then((code) => reject(new Error(`ended with ${code}: ${written}`)));
  });
  return { child, url, ended, written: () => written };
}

describe('sda serve', () => {
  const dir = tinyFolder('tiny-llama-tied');
  afterAll(() => rmSync(dir, { recursive: true, force: true }));
  const chat = { model: 'tiny', messages: [{ role: 'user' as const, content: 'A private word' }] };

  test('answers, writes a line a request without key or words, and ends at SIGTERM when all is finished', async () => {
    const { child, url, ended, written } = await start(['--model', dir, '--name', 'tiny'], {
      SDA_API_KEY: KEY,
    });
    const client = new OpenAI({
      baseURL: `${url}/v1`,
      apiKey: KEY,
      maxRetries: 0,
      logLevel: 'off',
    });
    await client.chat.completions.create({ ...chat, max_tokens: 3 });
    const wrong = new OpenAI({
      baseURL: `${url}/v1`,
      apiKey: `${KEY}?`,
      maxRetries: 0,
      logLevel: 'off',
    });
    await expect(wrong.models.list()).rejects.toMatchObject({ status: 401 });
    await fetch(`${url}/v1/models?key=${KEY}`);
    const stream = await client.chat.completions.create({ ...chat, max_tokens: 80, stream: true });
    let reason: string | null = null;
    let killed = false;
    for await (const { choices } of stream) {
      if (!killed) killed = child.kill('SIGTERM');
      reason = choices[0]?.finish_reason ?? reason;
    }
    expect(['stop', 'length']).toContain(reason);
    expect(await ended).toBe(0);
    expect(written()).toMatch(/POST \/v1\/chat\/completions 200 \d+ ms/);
    expect(written()).toMatch(/GET \/v1\/models 401 \d+ ms/);
    expect(written()).not.toContain(KEY);
    expect(written()).not.toContain('private');
  });

  test('takes a default for "sda", evaluators and the names of models', async () => {
    const file = join(temporaryFolder(), 'evaluator.yaml');
    writeFileSync(file, 'kind: fixed\nscore: 40\n');
    const field = JSON.stringify({ core: 'empathy', evaluator: 'fixed' });
    const { child, url, ended } = await start([
      '--model',
      dir,
      '--name',
      'tiny',
      '--with',
      `amateur=${dir}`,
      '--evaluator',
      file,
      '--sda',
      field,
      '--quiet',
    ]);
    const client = new OpenAI({
      baseURL: `${url}/v1`,
      apiKey: 'none',
      maxRetries: 0,
      logLevel: 'off',
    });
    const steered = await client.chat.completions.create({ ...chat, max_tokens: 3 });
    expect(steered).toMatchObject({ sda: { evaluator: 'fixed', score: 40 } });
    const plain = await client.chat.completions.create({
      ...chat,
      max_tokens: 3,
      ...({ sda: false } as object),
    });
    expect(plain).not.toHaveProperty('sda');
    const contrast = await client.chat.completions.create({
      ...chat,
      max_tokens: 3,
      ...({ sda: { rule: 'cd' } } as object),
    });
    expect(contrast.choices[0]).toMatchObject({ sda: { rule: 'cd' } });
    child.kill('SIGINT');
    expect(await ended).toBe(0);
  });

  test.each([
    [['--sda', '{'], 2, /--sda must be JSON/],
    [['--sda', '{"core":"x"}'], 1, /The default for "sda" cannot be: The field core is "x"/],
    [['--sda', '{"rule":"nope"}'], 1, /The default for "sda" cannot be: There is no rule "nope"/],
    [['--sda', '{"rule":"cd"}'], 1, /cannot be: The stream amateur is run by the model "amateur"/],
    [['--sda', '{"settings":{"k":-1}}'], 1, /cannot be: k of the rule sda must be .* is -1/],
    [['--sda', '{"evaluator":"gpt"}'], 1, /cannot be: There is no evaluator "gpt", only intrinsic/],
    [['--evaluator', '/nowhere.yaml'], 1, /nowhere\.yaml/],
    [['--context', '1000'], 1, /context must be a whole number in 2\.\.512, but is 1000/],
    [['--port', '70000'], 2, /Expected a port, 0\.\.65535/],
  ])('refuses %j', async (args, code, message) => {
    const result = await sda(['serve', '--model', dir, ...args]);
    expect([result.code, result.stderr]).toEqual([code, expect.stringMatching(message)]);
  });

  test('an evaluator that is no YAML is told by its place, without what stands there', async () => {
    const file = join(temporaryFolder(), 'evaluator.yaml');
    writeFileSync(file, 'kind: fixed\nscore: [40, a-secret');
    const { code, stderr } = await sda(['serve', '--model', dir, '--evaluator', file]);
    expect(code).toBe(1);
    expect(stderr).toMatch(/^error: The evaluator .* is neither YAML nor JSON, line 2, .*\.\n$/);
    expect(stderr).not.toContain('a-secret');
  });
});
