import { execFileSync } from 'node:child_process';
import { symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { packageRoot } from '../../src/runtime/paths.js';
import { checkpointDir, golden } from '../support/checkpoints.js';
import { MAIN, sda, sdaJson } from '../support/cli.js';
import { copyOf, editJson, temporaryFolder } from '../support/folders.js';
import { addTokenizer } from '../support/tiny-tokenizer.js';

const STEPS = join(packageRoot(), 'test', 'fixtures', 'sda_step.json');

describe('sda logits', () => {
  const { prompt, logits } = golden('tiny-qwen2').greedy;
  const options = ['logits', '--model', checkpointDir('tiny-qwen2'), '--dtype', 'float32'];
  const expected = logits[0]!;
  interface Result {
    vocab_size: number;
    logits: { id: number; logit: number }[];
  }

  it('gives all logits, highest first, as transformers does', async () => {
    const found = await sdaJson<Result>([...options, '--ids', prompt.join(' ')]);
    expect(found.vocab_size).toBe(97);
    expect(found.logits).toHaveLength(97);
    for (const { id, logit } of found.logits) expect(logit).toBeCloseTo(expected[id]!, 4);
    const order = found.logits.map(({ logit }) => logit);
    expect(order).toEqual([...order].sort((a, b) => b - a));
  });

  it('gives as many as --top says, with or without JSON', async () => {
    const ids = [...options, '--ids', prompt.join(' '), '--top', '3'];
    const { logits: top } = await sdaJson<Result>(ids);
    expect(top).toHaveLength(3);
    const { stdout } = await sda(ids);
    const rows = stdout.trimEnd().split('\n').slice(1);
    expect(rows.map((row) => Number(row.trim().split(/\s+/)[0]))).toEqual(top.map(({ id }) => id));
  });

  it('takes text where there is a tokenizer, and shows tokens', async () => {
    const dir = copyOf('tiny-llama');
    addTokenizer(dir);
    const text = await sdaJson<Result>(['logits', '--model', dir, '--text', 'ab']);
    // 'a' is the 65th printable character, after six special tokens
    const ids = await sdaJson<Result>(['logits', '--model', dir, '--ids', '71 72']);
    expect(text).toEqual(ids);
    const { stdout } = await sda(['logits', '--model', dir, '--text', 'ab', '--top', '2']);
    expect(stdout).toMatch(/^ *id +logit +token\n *\d+ +-?\d+\.\d{4} +"/);
  });
});

describe('sda conformance', () => {
  it('passes on the golden steps', async () => {
    const { code, stdout } = await sda(['conformance', STEPS]);
    expect(stdout).toMatch(/\nlargest .*\npassed: tolerance 0\.00001\n$/);
    expect(code).toBe(0);
  });

  it('exits with 1 on a wrong result and shows how far off it is', async () => {
    const file = join(temporaryFolder(), 'wrong.json');
    const test = {
      ...{ base: [0, 0], instructed: [0, '-Infinity'], k: 2, a: 0, t0: 0.6, sigma: 1, tmin: 0.2 },
      ...{ js: 0.2157615543388356, temperature: 0.6, probs: [1, 0] },
    };
    writeFileSync(file, JSON.stringify({ cases: [{ ...test, name: 'one is wrong' }] }));
    const { code, stdout } = await sda(['conformance', file, '--json']);
    expect(code).toBe(1);
    const { passed, largest_error } = JSON.parse(stdout) as {
      passed: boolean;
      largest_error: Record<string, number>;
    };
    expect(passed).toBe(false);
    expect(largest_error.temperature).toBeCloseTo(0.6 - 0.6 * 0.5 ** test.js, 5);
    expect(largest_error.js).toBeLessThan(1e-6);
    expect(largest_error.probs).toBeLessThan(1e-6);
  });

  it.each([
    ['no cases', '{"cases": []}', /cases/],
    ['another form', '{"cases": [{"base": [1]}]}', /instructed/],
    ['no JSON', 'no', /JSON/],
  ])('refuses a file with %s', async (_, text, message) => {
    const file = join(temporaryFolder(), 'cases.json');
    writeFileSync(file, text);
    const { code, stderr } = await sda(['conformance', file]);
    expect(stderr).toMatch(message);
    expect(stderr).toContain(file);
    expect(code).toBe(1);
  });
});

describe('sda inspect', () => {
  it('describes a sharded checkpoint', async () => {
    const found = await sdaJson(['inspect', '--model', checkpointDir('tiny-qwen3')]);
    expect(found).toMatchObject({
      architecture: { model_type: 'qwen3', layers: 2, head_dim: 20, eos_token_ids: [2, 5] },
      parameters: 48_800,
      bytes: 97_600,
      dtypes: { BF16: { bytes: 97_600 } },
      files: ['model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors'],
      // keys and values, 2 layers, 1 head of 20, float32
      kv_bytes_per_token: { one_stream: 320, both_streams: 640 },
      tokenizer: null,
      problems: [],
    });
  });

  it('prints the same for people', async () => {
    const { code, stdout } = await sda(['inspect', '--model', checkpointDir('tiny-llama-tied')]);
    expect(code).toBe(0);
    expect(stdout).toMatch(/architecture +llama, 3 layers, head tied to the embedding\n/);
    expect(stdout).toMatch(/parameters +67,392\n/);
    expect(stdout).toMatch(/warning: .* no tokenizer\.json/);
    expect(stdout).toMatch(/ready to run\n$/);
  });

  it('lists every problem and exits with 1', async () => {
    const dir = copyOf('tiny-llama');
    editJson(join(dir, 'config.json'), { num_key_value_heads: 3 });
    writeFileSync(join(dir, 'model.safetensors'), 'short');
    const { code, stdout } = await sda(['inspect', '--model', dir]);
    expect(code).toBe(1);
    expect(stdout.match(/^problem: /gm)).toHaveLength(2);
    expect(stdout).toMatch(/problem: .*num_key_value_heads/);
    expect(stdout).toMatch(/problem: .*model\.safetensors/);
    expect(stdout).not.toContain('ready to run');
  });
});

describe('sda inspect --config', () => {
  const file = join(
    packageRoot(),
    'test',
    'fixtures',
    'models',
    'DeepSeek-R1-Distill-Qwen-32B.json',
  );

  it('describes a config.json alone, and what it would take', async () => {
    const found = await sdaJson(['inspect', '--config', file, '--context', '32768']);
    expect(found).toMatchObject({
      architecture: { model_type: 'qwen2', layers: 64, qkv_bias: true },
      parameters: 32_763_876_352,
      memory: {
        context: 32_768,
        weights: expect.any(Number),
        // 2 streams, keys and values, 64 layers, 8 heads of 128, float32
        kv_cache: 2 * 32_768 * 2 * 64 * 8 * 128 * 4,
      },
      tokenizer: null,
      problems: [],
    });
    const { stdout } = await sda(['inspect', '--config', file]);
    expect(stdout).toMatch(/parameters +32\.76 billion\n/);
    expect(stdout).toMatch(/memory +\S+ GB for 1 query, 2 streams of 4096 tokens\n/);
    expect(stdout).not.toContain('ready to run');
  });

  it('says what is wrong with it, and takes no folder beside it', async () => {
    const missing = await sda(['inspect', '--config', '/nonexistent/config.json']);
    expect(missing.code).toBe(1);
    expect(missing.stdout).toMatch(/problem: .*does not exist.*\.\n/);
    const both = await sda(['inspect', '--config', file, '--model', 'x']);
    expect(both.code).toBe(2);
  });
});

describe('sda inspect of a folder with a tokenizer', () => {
  it('names every problem of its parts', async () => {
    const dir = copyOf('tiny-llama');
    addTokenizer(dir, '{% if %}');
    editJson(join(dir, 'config.json'), { vocab_size: 100, eos_token_id: [2, 99] });
    const { code, stdout } = await sda(['inspect', '--model', dir]);
    expect(code).toBe(1);
    const problems = stdout.match(/^problem: .*$/gm) ?? [];
    expect(problems).toHaveLength(2);
    expect(problems[0]).toMatch(/embed_tokens.*\[131, 48\].*\[100, 48\] is expected/);
    expect(problems[1]).toMatch(/chat template .* cannot be parsed/);
    expect(stdout).toMatch(/^warning: .*ids up to 100 where vocab_size 100/m);
  });

  it('says how many rows have no token, and what its template takes', async () => {
    const dir = copyOf('tiny-llama');
    addTokenizer(
      dir,
      "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}{{ messages[0].content }}<think>",
    );
    const found = await sdaJson(['inspect', '--model', dir]);
    expect(found).toMatchObject({
      tokenizer: { tokens: 101, rows_without_token: 30 },
      chat_template: { takes_system_turn: false, opens_thinking: true },
      problems: [],
    });
  });
});

describe('sda', () => {
  const commands = ['generate', 'demo', 'logits', 'inspect', 'conformance', 'setup', 'weights'];

  it('lists its commands, with and without --help, and starts nothing', async () => {
    const help = await sda(['--help'], { env: { SDA_CACHE_DIR: '/nonexistent' } });
    expect(help.code).toBe(0);
    for (const name of [...commands, 'doctor']) {
      expect(help.stdout).toMatch(new RegExp(`^  ${name}`, 'm'));
    }
    expect(await sda([])).toEqual(help);
  });

  it.each([...commands, 'doctor'])('%s --help has examples', async (name) => {
    const { code, stdout } = await sda([name, '--help']);
    expect(code).toBe(0);
    expect(stdout).toMatch(new RegExp(`Examples?:\n  sda ${name}`));
  });

  it('prints its version', async () => {
    const { stdout } = await sda(['--version']);
    expect(stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
  });

  it('runs through a symbolic link, as npm installs it', () => {
    const link = join(temporaryFolder(), 'sda');
    symlinkSync(MAIN, link);
    expect(execFileSync(process.execPath, [link, '--version'], { encoding: 'utf8' })).toMatch(
      /^\d+\.\d+\.\d+\n$/,
    );
  });
});
