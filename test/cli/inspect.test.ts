import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { fixture } from '../import/fixtures.js';
import { checkpointDir } from '../support/checkpoints.js';
import { sda, sdaJson } from '../support/cli.js';
import { copyOf, editJson } from '../support/folders.js';
import { addTokenizer, TINY_TEMPLATE } from '../support/tiny-tokenizer.js';

interface Found {
  readonly problems: readonly string[];
}

async function problemsOf(dir: string, ...options: string[]): Promise<readonly string[]> {
  const { code, stdout } = await sda(['inspect', dir, '--json', ...options]);
  const { problems } = JSON.parse(stdout) as Found;
  expect(code).toBe(problems.length > 0 ? 1 : 0);
  return problems;
}

describe('sda inspect DIR', () => {
  it('is the same as --model DIR, and takes one of them', async () => {
    const dir = checkpointDir('tiny-qwen2');
    const { memory: _, ...byPlace } = await sdaJson<{ memory: unknown }>(['inspect', dir]);
    expect(await sdaJson(['inspect', '--model', dir])).toMatchObject(byPlace);
    const { code, stderr } = await sda(['inspect', dir, '--model', dir]);
    expect(stderr).toMatch(/DIR, --model or --config/);
    expect(code).toBe(2);
  });

  it('names every problem of a config: kinds that are not supported and keys that are wrong', async () => {
    const dir = copyOf('tiny-llama');
    editJson(join(dir, 'config.json'), {
      hidden_act: 'gelu',
      architectures: ['LlamaForSequenceClassification'],
      hidden_size: -1,
      rms_norm_eps: 'small',
    });
    const problems = await problemsOf(dir);
    expect(problems).toHaveLength(3);
    expect(problems[0]).toMatch(/hidden_act "gelu"/);
    expect(problems[1]).toMatch(/LlamaForSequenceClassification/);
    expect(problems[2]).toMatch(/hidden_size: .*; rms_norm_eps: /);
  });

  it("names problems that need one another's keys together", async () => {
    const dir = copyOf('tiny-llama');
    editJson(join(dir, 'config.json'), {
      num_key_value_heads: 3,
      rope_parameters: { rope_type: 'longrope', rope_theta: 10_000 },
      layer_types: ['full_attention'],
    });
    const problems = await problemsOf(dir);
    expect(problems).toHaveLength(3);
    expect(problems[0]).toMatch(/num_key_value_heads 3/);
    expect(problems[1]).toMatch(/longrope/);
    expect(problems[2]).toMatch(/1 layer_types where num_hidden_layers is 2/);
  });

  it('names a missing head, and how to do without', async () => {
    const dir = copyOf('tiny-qwen2'); // tied: its file holds no head
    editJson(join(dir, 'config.json'), { tie_word_embeddings: false });
    const problems = await problemsOf(dir);
    expect(problems).toHaveLength(1);
    expect(problems[0]).toMatch(/lm_head\.weight \[97, 48\] is missing.*--tie-missing-head/);
    expect(await problemsOf(dir, '--tie-missing-head')).toEqual([]);
    const options = ['logits', '--model', dir, '--ids', '7 8', '--top', '1', '--json'];
    expect((await sda(options)).code).toBe(1);
    expect((await sda([...options, '--tie-missing-head'])).code).toBe(0);
  });

  it('says whether the template writes the beginning-of-text token, and where it comes from', async () => {
    const dir = copyOf('tiny-llama');
    addTokenizer(dir, TINY_TEMPLATE);
    const template = (adds: boolean) => ({
      chat_template: {
        origin: join(dir, 'tokenizer_config.json'),
        adds_bos: adds,
        takes_system_turn: true,
        opens_thinking: false,
      },
    });
    expect(await sdaJson(['inspect', dir])).toMatchObject(template(false));
    const file = join(dir, 'tokenizer_config.json');
    const { chat_template } = JSON.parse(readFileSync(file, 'utf8')) as { chat_template: string };
    editJson(file, { bos_token: '<s>', chat_template: `{{ bos_token }}${chat_template}` });
    expect(await sdaJson(['inspect', dir])).toMatchObject(template(true));
    const { stdout } = await sda(['inspect', dir]);
    expect(stdout).toMatch(
      /chat template +tokenizer_config\.json, takes a system turn, writes the beginning-of-text token\n/,
    );
  });

  it("lists the tokenizer's own end of a turn among the tokens that end an answer, and warns of it", async () => {
    const dir = copyOf('tiny-llama');
    addTokenizer(dir, TINY_TEMPLATE);
    editJson(join(dir, 'tokenizer_config.json'), { eos_token: '<|user|>' });
    expect(await sdaJson(['inspect', dir])).toMatchObject({
      end_of_text: [
        { id: 2, token: '</s>', from: ['generation_config.json', 'config.json'] },
        { id: 3, token: '<|user|>', from: ['tokenizer'] },
      ],
      warnings: [`Answers end at <|user|> (3) as well, which only the tokenizer of ${dir} names.`],
    });
    expect((await sda(['inspect', dir])).stdout).toMatch(
      /end of text .*3 <\|user\|> \(tokenizer\)$/m,
    );
  });

  it.each([
    ['a folder of .bin', ['vicuna']],
    ['a GGUF file', ['gguf', 'llama.gguf']],
    ["Mistral's own", ['mistral']],
  ])('names the import for %s, and no other problem', async (_, names) => {
    const dir = fixture(...names);
    const { code, stdout, stderr } = await sda(['inspect', dir]);
    expect([code, stderr]).toEqual([1, '']);
    expect(stdout.match(/^(problem|warning):.*$/gm)).toEqual([
      expect.stringContaining(`run "npx sda import ${dir} --out DIR".`),
    ]);
    expect(stdout).not.toMatch(/tokenizer|template/);
  });

  it('plans for the context that is asked for, and counts a vector in float32', async () => {
    const dir = checkpointDir('tiny-llama-tied'); // bfloat16, 7 norms of 48
    const found = await sdaJson(['inspect', dir, '--context', '100']);
    expect(found).toMatchObject({
      parameters: 67_392,
      memory: {
        context: 100,
        weights: 2 * (67_392 - 7 * 48) + 4 * 7 * 48,
        // 2 streams, keys and values, 3 layers, 2 heads of 16, float32
        kv_cache: 2 * 100 * 2 * 3 * 2 * 16 * 4,
        fits: true,
      },
    });
  });

  it('plans for the queries and streams that are asked for, and names them', async () => {
    const args = ['inspect', checkpointDir('tiny-llama-tied'), '--context', '100'];
    const more = ['--batch', '3', '--streams', '1'];
    expect(await sdaJson([...args, ...more])).toMatchObject({
      memory: { context: 100, batch: 3, streams: 3, kv_cache: 3 * 100 * 2 * 3 * 2 * 16 * 4 },
    });
    expect(await sdaJson([...args, '--kv', 'bfloat16'])).toMatchObject({
      kv_bytes_per_token: { one_stream: 2 * 3 * 2 * 16 * 2 },
      memory: { kv: 'bfloat16', kv_cache: 2 * 100 * 2 * 3 * 2 * 16 * 2 },
    });
    const { stdout } = await sda([...args, '--batch', '3']);
    expect(stdout).toMatch(/^ {2}memory +\S+ \S+ for 3 queries at once, 6 streams of 100 tokens$/m);
    expect((await sda(args)).stdout).toMatch(/for 1 query, 2 streams of 100 tokens$/m);
    const { code, stderr } = await sda([...args, '--streams', '3']);
    expect(stderr).toMatch(/--streams.*Expected 1 or 2/);
    expect(code).toBe(2);
  });

  it('says that the folder is none', async () => {
    const { code, stderr } = await sda(['inspect', '/nonexistent']);
    expect(stderr).toMatch(/\/nonexistent does not exist/);
    expect(code).toBe(1);
    const dir = copyOf('tiny-llama');
    writeFileSync(join(dir, 'config.json'), '{');
    expect((await problemsOf(dir))[0]).toMatch(/config\.json is not valid JSON/);
  });
});
