import { readFileSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { BLOCK_TYPES, dequantise } from '../../src/import/gguf/blocks.js';
import { openGguf } from '../../src/import/gguf/checkpoint.js';
import { ggufConfigs } from '../../src/import/gguf/config.js';
import { shortestFloat } from '../../src/import/gguf/decimals.js';
import { type MetadataValue, readGgufHeader } from '../../src/import/gguf/header.js';
import { Metadata } from '../../src/import/gguf/metadata.js';
import { ggufTokenizer } from '../../src/import/gguf/tokenizer.js';
import { importModel } from '../../src/import/import.js';
import { loadTokenizer } from '../../src/text/tokenizer.js';
import { temporaryFolder } from '../support/folders.js';
import { fixture, golden } from './fixtures.js';

describe('blocks', () => {
  const blocks = golden<Record<string, { blocks: string; values: string }>>('gguf', 'blocks.json');

  it.each(Object.keys(blocks))('%s: the float32 values of Python to the bit', (name) => {
    const type = [...BLOCK_TYPES.values()].find((one) => one.name === name)!;
    const { blocks: stored, values } = blocks[name]!;
    const found = dequantise(Buffer.from(stored, 'base64'), type);
    expect(found.length).toBe(2 * type.elements);
    expect(Buffer.from(found.buffer).toString('base64')).toBe(values);
  });

  it('all quantised types are held to Python', () => {
    const quantised = [...BLOCK_TYPES.values()].filter((type) => type.quantised);
    expect(quantised.map(({ name }) => name).sort()).toEqual(Object.keys(blocks).sort());
  });
});

const METADATA: Readonly<Record<string, MetadataValue>> = {
  'general.architecture': 'llama',
  'llama.embedding_length': 64,
  'llama.attention.head_count': 4,
  'llama.attention.head_count_kv': 2,
  'llama.block_count': 2,
  'llama.context_length': 128,
  'llama.feed_forward_length': 96,
  'llama.attention.layer_norm_rms_epsilon': Math.fround(1e-5),
  'llama.rope.freq_base': 500_000,
};
const FACTS = {
  vocabSize: 100,
  hasHead: true,
  attentionBias: false,
  mlpBias: false,
  ropeFactors: { llama3: null, short: null, long: null },
};

const configsOf = (changes: Record<string, MetadataValue | undefined> = {}, facts = {}) => {
  const entries = Object.entries({ ...METADATA, ...changes });
  const present = entries.filter((entry): entry is [string, MetadataValue] => entry[1] != null);
  return ggufConfigs(new Metadata(new Map(present), 'M.gguf'), { ...FACTS, ...facts });
};

describe('config.json', () => {
  it('has the sizes of the metadata, and decimals as people write them', () => {
    const { config, generationConfig } = configsOf({
      'tokenizer.ggml.bos_token_id': 1,
      'tokenizer.ggml.eos_token_id': 2,
      'tokenizer.ggml.eot_token_id': 7,
    });
    expect(config).toMatchObject({
      model_type: 'llama',
      hidden_size: 64,
      head_dim: 16,
      num_key_value_heads: 2,
      rms_norm_eps: 1e-5,
      rope_theta: 500_000,
      rope_scaling: null,
      tie_word_embeddings: false,
      vocab_size: 100,
      eos_token_id: 2,
    });
    expect(generationConfig).toEqual({ bos_token_id: 1, eos_token_id: [2, 7] });
  });

  it('scales the rotary embeddings: linear, yarn', () => {
    const scaling = (type: string) => ({
      'llama.rope.scaling.type': type,
      'llama.rope.scaling.factor': 4,
      'llama.rope.scaling.original_context_length': 32,
    });
    expect(configsOf(scaling('linear')).config.rope_scaling).toEqual({
      rope_type: 'linear',
      factor: 4,
    });
    expect(configsOf(scaling('yarn')).config.rope_scaling).toEqual({
      rope_type: 'yarn',
      factor: 4,
      original_max_position_embeddings: 32,
    });
    expect(() => configsOf(scaling('longrope'))).toThrow('longrope');
    const more = { ...scaling('yarn'), 'llama.rope.scaling.yarn_beta_fast': 16 };
    expect(() => configsOf(more)).toThrow('yarn_beta_fast');
  });

  it("takes Llama 3's factors for its settings, and no others", () => {
    // Llama-3.2-1B's, from `_compute_llama3_parameters` of transformers: head_dim 64, theta 500,000, factor 32
    const factors = golden<number[]>('gguf', 'llama3-factors.json');
    const heads = { 'llama.attention.key_length': 64, 'llama.attention.value_length': 64 };
    const of = (llama3: Float32Array) =>
      configsOf(heads, { ropeFactors: { ...FACTS.ropeFactors, llama3 } }).config.rope_scaling;
    expect(of(Float32Array.from(factors))).toEqual({
      rope_type: 'llama3',
      factor: 32,
      low_freq_factor: 1,
      high_freq_factor: 4,
      original_max_position_embeddings: 8192,
    });
    expect(() => of(Float32Array.from(factors).fill(3, 0, 1))).toThrow('rope_freqs.weight');
    expect(() => of(Float32Array.from(factors.slice(1)))).toThrow('rope_freqs.weight');
  });

  it.each([
    ['another architecture', { 'general.architecture': 'gemma2' }, '"gemma2"'],
    ['experts', { 'llama.expert_count': 8 }, '8 experts'],
    ['a sliding window', { 'llama.attention.sliding_window': 32 }, 'last 32 of its 128'],
    ['heads that are rotated in part', { 'llama.rope.dimension_count': 8 }, '8 rotated'],
    ["Granite's multipliers", { 'llama.residual_scale': 0.5 }, 'llama.residual_scale'],
    ['a cap on logits', { 'llama.final_logit_softcapping': 30 }, 'final_logit_softcapping'],
    ['no number of heads', { 'llama.attention.head_count': undefined }, 'head_count'],
    ['a text for a number', { 'llama.block_count': 'two' }, 'block_count'],
  ])('refuses %s by name', (_, changes, message) => {
    expect(() => configsOf(changes)).toThrow(message);
    expect(() => configsOf(changes)).toThrow('M.gguf');
  });

  /** The same metadata of another architecture. */
  const as = (name: string, changes: Record<string, MetadataValue | undefined> = {}) => {
    const renamed = Object.entries(METADATA).flatMap(([key, value]) => [
      [key, key.startsWith('llama.') ? undefined : value] as const,
      [key.replace(/^llama/, name), value] as const,
    ]);
    return { ...Object.fromEntries(renamed), 'general.architecture': name, ...changes };
  };
  const GRANITE = {
    'granite.attention.scale': Math.fround(0.015625),
    'granite.embedding_scale': 12,
    'granite.residual_scale': Math.fround(0.22),
    'granite.logit_scale': 8,
  };
  const PHI3 = { 'phi3.attention.sliding_window': 0 };

  it("has a family's own keys", () => {
    expect(configsOf(as('granite', GRANITE)).config).toMatchObject({
      model_type: 'granite',
      attention_multiplier: 0.015625,
      embedding_multiplier: 12,
      residual_multiplier: 0.22,
      logits_scaling: 8,
    });
    expect(configsOf(as('smollm3')).config).toMatchObject({ no_rope_layer_interval: 4 });
    expect(configsOf(as('phi3', PHI3)).config).toMatchObject({
      sliding_window: null,
      rope_scaling: null,
    });
    const partly = { ...PHI3, 'phi3.rope.dimension_count': 12 };
    expect(configsOf(as('phi3', partly)).config).toMatchObject({ partial_rotary_factor: 0.75 });
  });

  it.each([
    ['granite', { ...GRANITE, 'granite.residual_scale': undefined }, 'lacks the metadata key'],
    ['granite', { ...GRANITE, 'granite.rope.scaling.finetuned': false }, 'rotates no queries'],
    ['phi3', {}, 'phi3.attention.sliding_window'],
    ['olmo2', { 'olmo2.attention.sliding_window': 32 }, 'last 32 of its 128'],
  ])('%s is refused with %j', (name, changes, message) => {
    expect(() => configsOf(as(name, changes))).toThrow(message);
  });

  it('needs both factors of LongRoPE', () => {
    const short = Float32Array.of(1, 2, 3, 4, 5, 6, 7, 8);
    const ropeFactors = { ...FACTS.ropeFactors, short };
    expect(() => configsOf(as('phi3', PHI3), { ropeFactors })).toThrow('where both are needed');
  });

  it('the shortest decimals', () => {
    for (const value of [1e-5, 1e-6, 10_000, 1_000_000, 0.1, 3.14]) {
      expect(shortestFloat(Math.fround(value))).toBe(value);
    }
  });
});

describe('files', () => {
  it('a split one is opened by any part, and needs them all', async () => {
    const part = (n: number) => fixture('gguf', `qwen2-0000${n}-of-00003.gguf`);
    for (const n of [1, 3]) {
      const { checkpoint } = await openGguf(part(n));
      expect(checkpoint.tensors.has('model.embed_tokens.weight')).toBe(true);
      expect(checkpoint.tensors.has('model.norm.weight')).toBe(true);
      await checkpoint.close();
    }
    const alone = join(temporaryFolder(), 'qwen2-00002-of-00003.gguf');
    writeFileSync(alone, readFileSync(part(2)));
    await expect(openGguf(alone)).rejects.toThrow('qwen2-00001-of-00003.gguf');
  });

  it('a header in many pieces is the one that is read at once', async () => {
    // longer than what is read first: a text of 3 MB
    const text = 'é'.repeat(1_500_000);
    const file = join(temporaryFolder(), 'long.gguf');
    writeFileSync(file, header([['general.name', text]]));
    const handle = await open(file);
    const { metadata } = await readGgufHeader(handle, file);
    await handle.close();
    expect(metadata.get('general.name') === text).toBe(true);
  });

  it.each([
    ['a type that is not read', (bytes: Buffer) => setType(bytes, 10), 'Q2_K'],
    ['version 1', (bytes: Buffer) => bytes.writeUInt32LE(1, 4), 'version 1'],
    ['big-endian numbers', (bytes: Buffer) => bytes.writeUInt32BE(3, 4), 'big-endian'],
    ['more keys than bytes', (bytes: Buffer) => bytes.writeBigUInt64LE(2n ** 60n, 16), 'keys'],
    ['more tensors than bytes', (bytes: Buffer) => bytes.writeBigUInt64LE(2n ** 40n, 8), 'tensors'],
  ])('%s is named', async (_, change, message) => {
    const bytes = readFileSync(fixture('gguf', 'llama.gguf'));
    change(bytes);
    const file = join(temporaryFolder(), 'changed.gguf');
    writeFileSync(file, bytes);
    await expect(openGguf(file)).rejects.toThrow(message);
    await expect(openGguf(file)).rejects.toThrow(file);
  });
});

/** A GGUF file of texts and nothing else. */
function header(texts: readonly (readonly [string, string])[]): Buffer {
  const number = (value: number) => {
    const bytes = Buffer.alloc(8);
    bytes.writeBigUInt64LE(BigInt(value));
    return bytes;
  };
  const text = (value: string) => [number(Buffer.byteLength(value)), Buffer.from(value)];
  const start = Buffer.from('GGUF\x03\0\0\0');
  const entries = texts.flatMap(([key, value]) => [
    ...text(key),
    Buffer.from([8, 0, 0, 0]),
    ...text(value),
  ]);
  return Buffer.concat([start, number(0), number(texts.length), ...entries]);
}

/** The type of the first tensor, after its name, its number of axes and two of them. */
function setType(bytes: Buffer, type: number): void {
  const name = 'token_embd.weight';
  bytes.writeUInt32LE(type, bytes.indexOf(name) + name.length + 4 + 2 * 8);
}

describe('tokenizers', () => {
  const byteLevel: Readonly<Record<string, MetadataValue>> = {
    'tokenizer.ggml.model': 'gpt2',
    'tokenizer.ggml.pre': 'qwen2',
    'tokenizer.ggml.tokens': ['a', 'b', 'ab', '<end>', '<tool>', '[PAD5]'],
    'tokenizer.ggml.token_type': [1, 1, 1, 3, 4, 5],
    'tokenizer.ggml.merges': ['a b'],
    'tokenizer.ggml.eos_token_id': 3,
  };
  const filesOf = (changes: Record<string, MetadataValue> = {}) =>
    ggufTokenizer(new Metadata(new Map(Object.entries({ ...byteLevel, ...changes })), 'M.gguf'));

  it('keeps special tokens apart from plain added ones, and rows without a token out', () => {
    const { 'tokenizer.json': json, 'tokenizer_config.json': config } = filesOf();
    expect(json).toMatchObject({
      added_tokens: [
        { id: 3, content: '<end>', special: true },
        { id: 4, content: '<tool>', special: false },
      ],
      model: { vocab: { a: 0, b: 1, ab: 2, '<end>': 3, '<tool>': 4 }, merges: [['a', 'b']] },
    });
    expect(config).toMatchObject({ eos_token: '<end>' });
  });

  it('spaces after the added tokens of Phi-3 go, as in its published tokenizer.json', async () => {
    const out = join(temporaryFolder(), 'phi3');
    await importModel(fixture('gguf', 'phi3.gguf'), out);
    const tokenizer = await loadTokenizer(out);
    const [end, user, endOfText, space, word] = [2, 3, 4, 5, 10];
    expect(tokenizer.encode('<|user|>  ab')).toEqual([user, word]);
    expect(tokenizer.encode('</s> ab')).toEqual([end, word]);
    expect(tokenizer.encode('<|endoftext|> ab')).toEqual([endOfText, space, word]);
  });

  it.each([
    ['another kind', { 'tokenizer.ggml.model': 'bert' }, '"bert"'],
    ['an unknown way to cut words', { 'tokenizer.ggml.pre': 'viking' }, '"viking"'],
    ['a merge of what is no token', { 'tokenizer.ggml.merges': ['a x'] }, '"a x"'],
    ['a token twice', { 'tokenizer.ggml.tokens': ['a', 'a'] }, 'a token twice'],
    ['no token for a beginning', { 'tokenizer.ggml.add_bos_token': true }, 'beginning'],
  ])('refuses %s', (_, changes, message) => {
    expect(() => filesOf(changes)).toThrow(message);
  });
});
