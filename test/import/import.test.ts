import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { openCheckpoint } from '../../src/checkpoint/checkpoint.js';
import { importModel } from '../../src/import/import.js';
import { loadConfig } from '../../src/model/config.js';
import { loadTokenizer } from '../../src/text/tokenizer.js';
import { checkpointDir, golden as checkpointGolden } from '../support/checkpoints.js';
import { sda } from '../support/cli.js';
import { copyOf, editJson, temporaryFolder } from '../support/folders.js';
import { useTensorFlow } from '../support/tensorflow.js';
import { contentsOf, expectLogits, fixture, golden } from './fixtures.js';

useTensorFlow();

interface Logits {
  readonly ids: number[];
  readonly logits: number[];
}

const tensorsOf = async (dir: string) => {
  const checkpoint = await openCheckpoint(dir);
  const contents = await contentsOf(checkpoint);
  await checkpoint.close();
  return contents;
};

describe('a folder as Vicuna was published', () => {
  it('loads, and gives the logits of transformers', async () => {
    const out = join(temporaryFolder(), 'vicuna');
    const made = await importModel(fixture('vicuna'), out);
    expect(made.warnings).toEqual([]);
    expect(made).toMatchObject({ dtypes: ['F16'], files: ['model.safetensors'] });
    const { ids, logits } = golden<Logits>('vicuna');
    await expectLogits(out, ids, logits);
    expect(readdirSync(out).sort()).toEqual([
      'config.json',
      'generation_config.json',
      'model.safetensors',
      'special_tokens_map.json',
      'tokenizer.json',
      'tokenizer.model',
      'tokenizer_config.json',
    ]);
  });

  it('answers in its own template by the command line', async () => {
    const out = join(temporaryFolder(), 'vicuna');
    const imported = await sda(['import', fixture('vicuna'), '--out', out]);
    expect([imported.code, imported.stderr]).toEqual([0, '']);
    expect(imported.stdout).toMatch(/^made .*: llama, 1 layer, .* of F16 in model\.safetensors\n/);
    expect(imported.stdout).toContain(
      `next: sda generate --model ${out} --chat-template NAME --query`,
    );
    const { query, ids } = golden<Logits & { query: string }>('vicuna');
    const options = ['--greedy', '--max-tokens', '3', '--ignore-eos', '--json'];
    const answered = await sda([
      ...['generate', '--model', out, '--chat-template', 'vicuna', '--query', query],
      ...options,
    ]);
    expect(answered.stderr).toBe('');
    const base = await sda([
      ...['generate', '--model', out, '--mode', 'base', ...options],
      ...['--base-ids', ids.join(' '), '--instructed-ids', ids.join(' ')],
    ]);
    const byText = await sda([
      ...['generate', '--model', out, '--chat-template', 'vicuna', '--query', query],
      ...['--mode', 'base', ...options],
    ]);
    const idsOf = ({ stdout }: { stdout: string }) =>
      (JSON.parse(stdout) as { token_ids: number[] }).token_ids;
    expect(idsOf(byText)).toEqual(idsOf(base));
    expect(idsOf(base)).toHaveLength(3);
  });
});

describe('one file of torch.save', () => {
  it('names of a training framework are understood, and a head that is the embedding is written once', async () => {
    const { ids, logits } = golden<Logits>('tied');
    for (const source of [fixture('tied'), fixture('tied', 'pytorch_model.bin')]) {
      const out = join(temporaryFolder(), 'tied');
      const { dtypes, warnings } = await importModel(source, out);
      expect(dtypes).toEqual(['BF16']);
      expect(warnings).toEqual([
        expect.stringContaining(
          '_orig_mod.model.embed_tokens.weight is taken as model.embed_tokens',
        ),
        expect.stringContaining('token ids only'),
      ]);
      expect(Object.keys(await tensorsOf(out))).not.toContain('lm_head.weight');
      await expectLogits(out, ids, logits);
    }
  });

  it('a head beside a tied embedding that is another one stays', async () => {
    const dir = temporaryFolder();
    for (const name of readdirSync(fixture('vicuna'))) {
      if (name !== 'config.json') symlinkSync(join(fixture('vicuna'), name), join(dir, name));
    }
    writeFileSync(join(dir, 'config.json'), readFileSync(join(fixture('vicuna'), 'config.json')));
    editJson(join(dir, 'config.json'), { tie_word_embeddings: true });
    const out = join(temporaryFolder(), 'both');
    const { warnings } = await importModel(dir, out);
    expect(warnings).toEqual([expect.stringContaining('lm_head.weight is in the file as well')]);
    expect(Object.keys(await tensorsOf(out))).toContain('lm_head.weight');
  });
});

describe('GGUF', () => {
  const expected = golden<Record<string, number[]> & { text: string }>('gguf');

  it.each([
    ['llama', 'llama.gguf'],
    ['qwen2', 'qwen2-00001-of-00003.gguf'],
    ['qwen3', 'qwen3.gguf'],
    ['smollm3', 'smollm3.gguf'],
  ])('%s gives the logits of transformers', async (name, file) => {
    const out = join(temporaryFolder(), name);
    await importModel(fixture('gguf', file), out, { dtype: 'F32' });
    await expectLogits(out, expected.ids!, expected[name]!);
  });

  it.each(['phi3', 'granite', 'olmo2'] as const)(
    '%s is the folder that the file was made of: tensors, config and logits',
    async (name) => {
      const original = checkpointDir(`tiny-${name}`);
      const out = join(temporaryFolder(), name);
      await importModel(fixture('gguf', `${name}.gguf`), out, { dtype: 'BF16' });
      expect(await tensorsOf(out)).toEqual(await tensorsOf(original));
      const tokenizer = { endings: [], bosTokenId: null, padTokenId: null };
      const found = { ...(await loadConfig(out)), ...tokenizer };
      expect(found).toEqual({ ...(await loadConfig(original)), ...tokenizer });
      const { prompt, ids, logits } = checkpointGolden(`tiny-${name}`).greedy;
      await expectLogits(out, [...prompt, ...ids], logits.at(-1)!);
    },
  );

  it('is rounded once to bfloat16 unless something else is asked for', async () => {
    const dir = temporaryFolder();
    const { dtypes } = await importModel(fixture('gguf', 'llama.gguf'), join(dir, 'rounded'));
    expect(dtypes).toEqual(['BF16']);
    await importModel(fixture('gguf', 'llama.gguf'), join(dir, 'exact'), { dtype: 'F32' });
    const [rounded, exact] = await Promise.all(
      ['rounded', 'exact'].map((name) => tensorsOf(join(dir, name))),
    );
    for (const [name, { data }] of Object.entries(exact!)) {
      const values = new Float32Array(Uint8Array.from(Buffer.from(data, 'base64')).buffer);
      const found = new Uint16Array(
        Uint8Array.from(Buffer.from(rounded![name]!.data, 'base64')).buffer,
      );
      expect(Array.from(found)).toEqual(Array.from(values, nearestBfloat16));
    }
  });

  it('keeps the tokens of its SentencePiece model', async () => {
    const out = join(temporaryFolder(), 'llama');
    await importModel(fixture('gguf', 'llama.gguf'), out);
    const tokenizer = await loadTokenizer(out);
    expect(tokenizer.encode(expected.text)).toEqual(expected.llama_ids);
  });
});

/** Of the two bfloat16 around a value the nearer one, and of two equally near ones the even one. */
function nearestBfloat16(value: number): number {
  const bits = new Uint32Array(Float32Array.of(value).buffer)[0]!;
  const around = [bits >>> 16, (bits >>> 16) + 1];
  const [low, high] = around.map((half) =>
    Math.abs(new Float32Array(Uint32Array.of(half << 16).buffer)[0]! - value),
  );
  if (low === high) return around.find((half) => half % 2 === 0)!;
  return low! < high! ? around[0]! : around[1]!;
}

describe("Mistral's own format", () => {
  it('gives the logits of transformers', async () => {
    const out = join(temporaryFolder(), 'mistral');
    const { warnings, hasTokenizer } = await importModel(fixture('mistral'), out);
    expect(hasTokenizer).toBe(false);
    expect(warnings).toEqual([expect.stringContaining('token ids only')]);
    const { ids, logits } = golden<Logits>('mistral');
    await expectLogits(out, ids, logits);
  });

  it('names what params.json has and is not done', async () => {
    const dir = temporaryFolder();
    symlinkSync(
      fixture('mistral', 'consolidated.safetensors'),
      join(dir, 'consolidated.safetensors'),
    );
    const params = JSON.parse(readFileSync(fixture('mistral', 'params.json'), 'utf8')) as object;
    const write = (changes: object) =>
      writeFileSync(join(dir, 'params.json'), JSON.stringify({ ...params, ...changes }));
    const out = join(dir, 'out');
    write({ moe: { num_experts: 8 } });
    await expect(importModel(dir, out)).rejects.toThrow('"moe"');
    write({ n_heads: 'four' });
    await expect(importModel(dir, out)).rejects.toThrow('n_heads');
    write({ dim: 24 });
    await expect(importModel(dir, out)).rejects.toThrow('[40, 24]');
    expect(existsSync(out)).toBe(false);
  });
});

describe('safetensors', () => {
  it('in shards of a size, with an index, are the same tensors', async () => {
    const source = checkpointDir('tiny-qwen3');
    const out = join(temporaryFolder(), 'sharded');
    const { files } = await importModel(source, out, { maxShardBytes: 30_000 });
    expect(files.length).toBeGreaterThan(4);
    expect(files.at(-1)).toBe('model.safetensors.index.json');
    expect(await tensorsOf(out)).toEqual(await tensorsOf(source));
  });

  it('float32 that exceeds float16 is named', async () => {
    const dir = copyOf('tiny-llama');
    const file = join(dir, 'model.safetensors');
    const bytes = readFileSync(file);
    bytes.writeFloatLE(70_000, bytes.length - 4);
    writeFileSync(file, bytes);
    const out = join(dir, 'out');
    await expect(importModel(dir, out, { dtype: 'F16' })).rejects.toThrow('range of F16');
    expect(readdirSync(dir).filter((name) => name.startsWith('out'))).toEqual([]);
    await importModel(dir, out, { dtype: 'BF16' });
  });
});

describe('the folder', () => {
  const source = checkpointDir('tiny-llama');

  it('is never one that is there already', async () => {
    const out = join(temporaryFolder(), 'mine');
    mkdirSync(out);
    writeFileSync(join(out, 'notes.txt'), 'mine');
    await expect(importModel(source, out)).rejects.toThrow(`${out} is not empty`);
    expect(readdirSync(out)).toEqual(['notes.txt']);
    const file = join(out, 'notes.txt');
    await expect(importModel(source, file)).rejects.toThrow(file);
    expect(readFileSync(file, 'utf8')).toBe('mine');
  });

  it('is not there, nor anything beside it, after a stop at any tensor', async () => {
    const parent = temporaryFolder();
    const out = join(parent, 'out');
    for (const stopAt of [1, 5, 20]) {
      const controller = new AbortController();
      let tensors = 0;
      const stopped = importModel(source, out, {
        signal: controller.signal,
        onBytes: () => {
          if (++tensors === stopAt) controller.abort();
        },
      });
      await expect(stopped).rejects.toMatchObject({ code: 'aborted' });
      expect(readdirSync(parent)).toEqual([]);
    }
  });

  it('what a killed process left beside it goes with the next import', async () => {
    const parent = temporaryFolder();
    const left = join(parent, `out.tmp-${(await import('node:os')).hostname()}-999999999-00`);
    mkdirSync(left);
    await importModel(source, join(parent, 'out'));
    expect(readdirSync(parent)).toEqual(['out']);
  });

  it.each([
    ['an empty folder', [], /no weights that can be imported/],
    [
      'two files and no index',
      ['a.bin', 'b.bin'],
      /2 files of weights and no index \(a\.bin, b\.bin\)/,
    ],
    ['weights without a config', ['pytorch_model.bin'], /config\.json does not exist/],
    ['only what training leaves', ['training_args.bin', 'optimizer.pt'], /no weights/],
  ])('%s is refused', async (_, names, message) => {
    const dir = temporaryFolder();
    for (const name of names) writeFileSync(join(dir, name), '');
    await expect(importModel(dir, join(dir, 'out'))).rejects.toThrow(message);
  });

  it('a source that is not there, and options that are none, in one sentence', async () => {
    const out = join(temporaryFolder(), 'out');
    const missing = await sda(['import', '/nowhere/model', '--out', out]);
    expect(missing.code).toBe(1);
    expect(missing.stderr).toMatch(/^error: \/nowhere\/model cannot be imported .*\n$/);
    const bad = await sda(['import', source, '--out', out, '--max-shard-size', 'big']);
    expect(bad.code).toBe(2);
    const weight = await sda(['import', source, '--out', out, '--adapter', 'x=y']);
    expect(weight.code).toBe(2);
    expect(existsSync(out)).toBe(false);
  });
});
