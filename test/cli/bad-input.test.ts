import {
  closeSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { checkpointDir } from '../support/checkpoints.js';
import { sda } from '../support/cli.js';
import { copyOf, editJson, temporaryFolder } from '../support/folders.js';
import { addTokenizer } from '../support/tiny-tokenizer.js';

const TINY = checkpointDir('tiny-llama');
const IDS = ['--base-ids', '1 2 3', '--instructed-ids', '1 2 3 4'];

/** One sentence on stderr, nothing on stdout, exit code 1, no stack trace. */
async function expectFailure(args: readonly string[], message: RegExp): Promise<void> {
  const { code, stdout, stderr } = await sda(args);
  expect(stderr).toMatch(message);
  expect(stderr).toMatch(/^error: [^\n]+\n$/);
  expect(stdout).toBe('');
  expect(code).toBe(1);
}

/** Overwrites a stored tensor of a single float32 file with NaN. */
function fillWithNaN(file: string, tensor: string): void {
  const bytes = readFileSync(file);
  const headerLength = Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.toString('utf8', 8, 8 + headerLength)) as Record<
    string,
    { data_offsets: [number, number] }
  >;
  const [start, end] = header[tensor]!.data_offsets;
  const handle = openSync(file, 'r+');
  writeSync(
    handle,
    Buffer.from(new Float32Array((end - start) / 4).fill(Number.NaN).buffer),
    0,
    end - start,
    8 + headerLength + start,
  );
  closeSync(handle);
}

describe('bad input is one sentence and exit code 1', () => {
  it('for a missing folder, which the message names', async () => {
    const dir = join(temporaryFolder(), 'nowhere');
    await expectFailure(['generate', '--model', dir, ...IDS], /nowhere does not exist.*--model/);
  });

  it('for missing weights', async () => {
    const dir = copyOf('tiny-llama');
    rmSync(join(dir, 'model.safetensors'));
    await expectFailure(['generate', '--model', dir, ...IDS], /model\.safetensors/);
  });

  it('for a missing shard', async () => {
    const dir = copyOf('tiny-qwen3');
    rmSync(join(dir, 'model-00002-of-00002.safetensors'));
    await expectFailure(['logits', '--model', dir, '--ids', '1'], /model-00002-of-00002/);
  });

  it('for a truncated file', async () => {
    const dir = copyOf('tiny-llama');
    const file = join(dir, 'model.safetensors');
    truncateSync(file, statSync(file).size - 100);
    await expectFailure(['generate', '--model', dir, ...IDS], /model\.safetensors/);
  });

  it('for a tensor of the wrong shape', async () => {
    const dir = copyOf('tiny-llama');
    editJson(join(dir, 'config.json'), { intermediate_size: 81 });
    await expectFailure(
      ['generate', '--model', dir, ...IDS],
      /mlp\.gate_proj\.weight is \[80, 48\].*\[81, 48\]/,
    );
  });

  it('for an unknown architecture', async () => {
    const dir = copyOf('tiny-llama');
    editJson(join(dir, 'config.json'), { model_type: 'mamba' });
    await expectFailure(['generate', '--model', dir, ...IDS], /mamba.*llama/);
  });

  it('for a config.json that is no JSON', async () => {
    const dir = copyOf('tiny-llama');
    writeFileSync(join(dir, 'config.json'), '{"model_type": ');
    await expectFailure(['generate', '--model', dir, ...IDS], /config\.json/);
  });

  it('for a prompt longer than the context', async () => {
    const long = Array.from({ length: 128 }, (_, i) => i).join(' ');
    await expectFailure(
      ['generate', '--model', TINY, '--base-ids', '1', '--instructed-ids', long],
      /instructed prompt has 128 tokens.*128/,
    );
  });

  it('for a token id outside the vocabulary', async () => {
    await expectFailure(['logits', '--model', TINY, '--ids', '1 131'], /131.*0\.\.130/);
  });

  it.each(['101', '-1', '1e9'])('for the score %s', async (score) => {
    await expectFailure(
      ['generate', '--model', TINY, ...IDS, '--score', score],
      new RegExp(`score must be .* is ${Number(score)}`),
    );
  });

  it.each([
    ['generate', [...IDS, '--dtype', 'float32']],
    ['logits', ['--ids', '1 2 3']],
  ])('for NaN logits in sda %s', async (command, options) => {
    const dir = copyOf('tiny-llama');
    fillWithNaN(join(dir, 'model.safetensors'), 'model.norm.weight');
    await expectFailure([command, '--model', dir, ...options], /logit.*NaN/);
  });

  it.each(['', '  \n'])('for the empty query %j', async (query) => {
    await expectFailure(['generate', '--model', TINY, '--query', query], /query is empty/);
  });

  it('for an empty query on standard input', async () => {
    await expectFailure(['generate', '--model', TINY, '--query', '-'], /query is empty/);
  });

  it('for a query without a tokenizer', async () => {
    await expectFailure(['generate', '--model', TINY, '--query', 'hello'], /tokenizer\.json/);
  });

  it('for a query without a chat template', async () => {
    const dir = copyOf('tiny-llama');
    addTokenizer(dir);
    await expectFailure(['generate', '--model', dir, '--query', 'hello'], /chat template/);
  });

  it('for a trace that cannot be written', async () => {
    await expectFailure(
      ['generate', '--model', TINY, ...IDS, '--trace', join(temporaryFolder(), 'no', 'trace')],
      /--trace/,
    );
  });

  it('and says where it comes from with --debug', async () => {
    const { code, stderr } = await sda(['logits', '--model', TINY, '--ids', '999', '--debug']);
    expect(code).toBe(1);
    expect(stderr).toMatch(/\n {4}at .*checkStreams/);
  });
});

describe('wrong usage is said and exits with 2', () => {
  const generate = ['generate', '--model', TINY, ...IDS];
  it.each([
    ['a score that is no number', [...generate, '--score', 'abc'], /--score.*Expected a number/],
    ['k below 0', [...generate, '--k', '-1'], /--k.*above 0/],
    ['k with a unit', [...generate, '--k', '2x'], /--k.*above 0/],
    ['top-p above 1', [...generate, '--top-p', '1.5'], /--top-p.*0\.\.1/],
    ['no token', [...generate, '--max-tokens', '0'], /--max-tokens.*at least 1/],
    ['a fraction as seed', [...generate, '--seed', '1.5'], /--seed.*whole number/],
    ['an infinite sigma', [...generate, '--sigma', 'Infinity'], /--sigma.*above 0/],
    ['an unknown mode', [...generate, '--mode', 'none'], /--mode.*steering/],
    ['ids that are no ids', ['generate', '--base-ids', '1 -2'], /--base-ids.*token ids/],
    ['no ids', ['logits', '--ids', ''], /--ids.*token ids/],
    ['a score and an amplification', [...generate, '--score', '5', '--amplification', '1'], /with/],
    ['a query and ids', [...generate, '--query', 'hi'], /--base-ids.*--query/],
    ['a core and ids', [...generate, '--core', 'empathy'], /--base-ids.*--core/],
    [
      'a core and an instruction',
      ['generate', '--query', 'hi', '--core', 'empathy', '--instruction', 'x'],
      /--core.*--instruction/,
    ],
    ['one prompt of two', ['generate', '--base-ids', '1'], /give --instructed-ids as well/],
    ['the other prompt of two', ['generate', '--instructed-ids', '1'], /give --base-ids as well/],
    ['nothing to answer', ['generate'], /give --query/],
    ['nothing to run', ['logits'], /give --ids/],
    ['a misspelt option', ['generate', '--qury', 'hi'], /Did you mean --query/],
    ['a misspelt command', ['generat'], /Did you mean generate/],
    ['a missing argument', ['conformance'], /missing required argument/],
  ])('%s', async (_, args, message) => {
    const { code, stdout, stderr } = await sda(args);
    expect(stderr).toMatch(message);
    expect(stderr).toMatch(/^error: /);
    expect(stderr).not.toMatch(/\n\s+at /);
    expect(stdout).toBe('');
    expect(code).toBe(2);
  });
});
