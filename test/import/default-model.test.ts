import { createHash } from 'node:crypto';
import { closeSync, openSync, readFileSync, readSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { Tokenizer } from '@huggingface/tokenizers';
import { describe, expect, test } from 'vitest';
import { defaultModelDir } from '../../src/runtime/paths.js';
import { defaultModelComplete } from '../../src/setup/default-model.js';

const dir = defaultModelDir();
const SHA256 = '56e546a09baa914b9adcd1c494e1406d38a554d6059a2e80573cf2cf65f0f297';

function json(name: string) {
  return JSON.parse(readFileSync(join(dir, name), 'utf8'));
}

describe('the default model that `npm run weights` made', () => {
  test('is whole and of this version', async () => {
    expect(await defaultModelComplete()).toBe(true);
  });

  test('has the weights that the Python package gguf makes of its file', () => {
    // to the byte: a header, and each tensor dequantised by gguf 0.17.1 and rounded to bfloat16 by numpy
    const hash = createHash('sha256').update(readFileSync(join(dir, 'model.safetensors')));
    expect(hash.digest('hex')).toBe(SHA256);
  });

  test('has the published configuration', () => {
    expect(json('config.json')).toMatchObject({
      architectures: ['LlamaForCausalLM'],
      hidden_size: 576,
      intermediate_size: 1536,
      max_position_embeddings: 8192,
      num_attention_heads: 9,
      num_hidden_layers: 30,
      num_key_value_heads: 3,
      rms_norm_eps: 1e-5,
      rope_theta: 100000,
      tie_word_embeddings: true,
      vocab_size: 49152,
    });
    expect(json('generation_config.json')).toMatchObject({ bos_token_id: 1, eos_token_id: 2 });
    expect(json('tokenizer_config.json')).toMatchObject({
      eos_token: '<|im_end|>',
      clean_up_tokenization_spaces: false,
      model_max_length: 8192,
      chat_template: expect.stringContaining('<|im_start|>assistant'),
    });
  });

  test('has bfloat16 tensors, a header of whole 8 bytes and no output head of its own', () => {
    const path = join(dir, 'model.safetensors');
    const file = openSync(path, 'r');
    const length = Buffer.alloc(8);
    readSync(file, length, 0, 8, 0);
    const headerBytes = Number(length.readBigUInt64LE());
    const text = Buffer.alloc(headerBytes);
    readSync(file, text, 0, headerBytes, 8);
    closeSync(file);
    expect(headerBytes % 8).toBe(0);
    const { __metadata__: metadata, ...tensors } = JSON.parse(text.toString());
    expect(metadata).toEqual({ format: 'pt' });
    expect(Object.keys(tensors)).toHaveLength(2 + 30 * 9);
    expect(tensors).not.toHaveProperty(['lm_head.weight']);
    expect(tensors['model.layers.29.self_attn.k_proj.weight'].shape).toEqual([192, 576]);
    let parameters = 0;
    for (const { dtype, shape } of Object.values<{ dtype: string; shape: number[] }>(tensors)) {
      expect(dtype).toBe('BF16');
      parameters += shape.reduce((product, size) => product * size, 1);
    }
    expect(parameters).toBe(134_515_008);
    expect(statSync(path).size).toBe(8 + headerBytes + 2 * parameters);
  });

  // Ids by transformers 5.24 on the same folder.
  test.each([
    ['In 2024, 1234567 people', '788 216 34 32 34 36 28 216 33 34 35 36 37 38 39 701'],
    ['def f(x):\n    return x**2', '1604 275 24 104 727 472 1003 1792 828 34'],
    ["I'm sad 😢 — naïve 中文", '57 5248 8177 40303 112 1841 15486 46494 216 28589 29184'],
    ['   a  b\t\n\n', '256 253 216 278 197 1116'],
    ['<|im_start|>user\nHi<|im_end|>\n', '1 4093 198 26843 2 198'],
  ])('splits %j as its own tokenizer does, and back', (text, ids) => {
    const tokenizer = new Tokenizer(json('tokenizer.json'), json('tokenizer_config.json'));
    const encoded = tokenizer.encode(text, { add_special_tokens: false }).ids;
    expect(encoded.join(' ')).toBe(ids);
    expect(tokenizer.decode(encoded)).toBe(text);
  });

  test('has merges that its vocabulary holds, whole and in parts', () => {
    const { vocab, merges } = json('tokenizer.json').model as {
      vocab: Record<string, number>;
      merges: string[][];
    };
    expect(merges).toHaveLength(48_900);
    const wrong = merges.filter((parts) => {
      return parts.length !== 2 || [...parts, parts.join('')].some((token) => !(token in vocab));
    });
    expect(wrong).toEqual([]);
  });
});
