import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { SdaError } from '../../src/errors.js';
import { loadConfig, parseConfig } from '../../src/model/config.js';
import { temporaryFolder } from '../checkpoint/build.js';
import { BASE, PUBLISHED } from './configs.js';

const parse = (fields: object, generationConfig?: unknown) =>
  parseConfig({ ...BASE, ...fields }, { file: 'config.json', generationConfig });

describe('published configurations', () => {
  it.each([
    [
      'Llama-2-7b-chat',
      {
        headDim: 128,
        numKeyValueHeads: 32,
        rope: { type: 'default', theta: 10_000 },
        eosTokenIds: [2],
        rmsNormEps: 1e-5,
        dtype: 'float16',
        attentionBias: false,
        qkNorm: false,
        slidingWindow: null,
      },
    ],
    [
      'Llama-3.1-8B-Instruct',
      {
        headDim: 128,
        numKeyValueHeads: 8,
        eosTokenIds: [128001, 128008, 128009],
        rope: {
          type: 'llama3',
          theta: 500_000,
          factor: 8,
          lowFreqFactor: 1,
          highFreqFactor: 4,
          originalMaxPosition: 8192,
        },
      },
    ],
    [
      'Mistral-Nemo-Instruct-2407',
      {
        headDim: 128,
        hiddenSize: 5120,
        numHeads: 32,
        slidingWindow: null,
        rope: { type: 'default', theta: 1_000_000 },
      },
    ],
    [
      'DeepSeek-R1-Distill-Qwen-7B',
      {
        modelType: 'qwen2',
        attentionBias: true,
        attentionOutputBias: false,
        mlpBias: false,
        slidingWindow: null,
        numKeyValueHeads: 4,
      },
    ],
    [
      'Qwen3-0.6B',
      {
        modelType: 'qwen3',
        headDim: 128,
        qkNorm: true,
        attentionBias: false,
        tieWordEmbeddings: true,
        bosTokenId: 151643,
        padTokenId: null,
      },
    ],
  ] as const)('%s', (name, expected) => {
    expect(parseConfig(PUBLISHED[name], { file: 'config.json' })).toMatchObject(expected);
  });
});

describe('defaults', () => {
  it('are those of transformers', () => {
    expect(parse({})).toEqual({
      modelType: 'llama',
      vocabSize: 100,
      hiddenSize: 64,
      intermediateSize: 96,
      numLayers: 3,
      numHeads: 4,
      numKeyValueHeads: 4,
      headDim: 16,
      rmsNormEps: 1e-6,
      rope: { type: 'default', theta: 10_000 },
      maxPositionEmbeddings: 2048,
      tieWordEmbeddings: false,
      attentionBias: false,
      attentionOutputBias: false,
      mlpBias: false,
      qkNorm: false,
      slidingWindow: null,
      slidingWindowLayers: [false, false, false],
      eosTokenIds: [],
      bosTokenId: null,
      padTokenId: null,
      dtype: null,
    });
    expect(parse({ model_type: 'qwen3' }).headDim).toBe(128);
    expect(parse({ head_dim: null, num_key_value_heads: null })).toMatchObject({
      headDim: 16,
      numKeyValueHeads: 4,
    });
  });

  it('biases follow the family, then the config', () => {
    expect(parse({ attention_bias: true, mlp_bias: true })).toMatchObject({
      attentionBias: true,
      attentionOutputBias: true,
      mlpBias: true,
    });
    expect(parse({ model_type: 'qwen2', attention_bias: false })).toMatchObject({
      attentionBias: true,
      attentionOutputBias: false,
    });
    expect(parse({ model_type: 'qwen3', attention_bias: true })).toMatchObject({
      attentionBias: true,
      attentionOutputBias: true,
    });
    expect(parse({ model_type: 'mistral', attention_bias: true, mlp_bias: true })).toMatchObject({
      attentionBias: false,
      attentionOutputBias: false,
      mlpBias: false,
    });
  });

  it('takes dtype in both spellings, and -1 as no token', () => {
    expect(parse({ dtype: 'float32' }).dtype).toBe('float32');
    expect(parse({ torch_dtype: 'bfloat16', pad_token_id: -1 })).toMatchObject({
      dtype: 'bfloat16',
      padTokenId: null,
    });
  });
});

describe('end-of-text tokens', () => {
  it.each([
    [2, undefined, [2]],
    [[2, 3], {}, [2, 3]],
    [null, { eos_token_id: 5 }, [5]],
    [2, { eos_token_id: [5, 2] }, [5, 2]],
    [[7], { eos_token_id: null }, [7]],
    [0, {}, [0]],
    [undefined, undefined, []],
  ])('config %j, generation config %j -> %j', (eos, generation, expected) => {
    expect(parse(eos === undefined ? {} : { eos_token_id: eos }, generation).eosTokenIds).toEqual(
      expected,
    );
  });

  it('are found in generation_config.json of a folder', async () => {
    const dir = await temporaryFolder({
      'config.json': JSON.stringify(BASE),
      'generation_config.json': '{"eos_token_id": [9, 8]}',
    });
    expect((await loadConfig(dir)).eosTokenIds).toEqual([9, 8]);
  });
});

describe('sliding windows', () => {
  it.each([
    ['llama has none', { sliding_window: 8 }, null, [false, false, false]],
    ['mistral, absent', { model_type: 'mistral' }, 4096, [true, true, true]],
    ['mistral, null', { model_type: 'mistral', sliding_window: null }, null, [false, false, false]],
    ['mistral, given', { model_type: 'mistral', sliding_window: 16 }, 16, [true, true, true]],
    [
      'qwen2, switched off',
      { model_type: 'qwen2', sliding_window: 8, use_sliding_window: false },
      null,
      [false, false, false],
    ],
    [
      'qwen2, upper layers',
      { model_type: 'qwen2', sliding_window: 8, use_sliding_window: true, max_window_layers: 1 },
      8,
      [false, true, true],
    ],
    [
      'qwen2, no layer reached',
      { model_type: 'qwen2', sliding_window: 8, use_sliding_window: true, max_window_layers: 3 },
      null,
      [false, false, false],
    ],
    [
      'qwen3, layer types',
      {
        model_type: 'qwen3',
        sliding_window: 8,
        use_sliding_window: true,
        layer_types: ['full_attention', 'sliding_attention', 'full_attention'],
      },
      8,
      [false, true, false],
    ],
  ])('%s', (_, fields, slidingWindow, slidingWindowLayers) => {
    expect(parse(fields)).toMatchObject({ slidingWindow, slidingWindowLayers });
  });
});

describe('rotary embeddings', () => {
  it('are the same in the forms of transformers 4 and 5', () => {
    const scaling = { factor: 4, original_max_position_embeddings: 512 };
    const forms = [
      { rope_theta: 5e5, rope_scaling: { ...scaling, type: 'yarn' } },
      { rope_theta: 5e5, rope_scaling: { ...scaling, rope_type: 'yarn' } },
      { rope_theta: 5e5, rope_scaling: { ...scaling, rope_type: 'yarn', type: 'yarn' } },
      { rope_parameters: { ...scaling, rope_type: 'yarn', rope_theta: 5e5 } },
      { rope_theta: 5e5, rope_parameters: { ...scaling, rope_type: 'yarn', rope_theta: 5e5 } },
      {
        rope_parameters: {
          full_attention: { ...scaling, rope_type: 'yarn', rope_theta: 5e5 },
          sliding_attention: { ...scaling, rope_type: 'yarn', rope_theta: 5e5 },
        },
      },
    ];
    for (const form of forms) {
      expect(parse(form).rope).toEqual({
        type: 'yarn',
        theta: 5e5,
        factor: 4,
        betaFast: 32,
        betaSlow: 1,
        attentionFactor: null,
        mscale: null,
        mscaleAllDim: null,
        originalMaxPosition: 512,
        truncate: true,
      });
    }
  });

  it.each([
    [
      'two thetas',
      { rope_theta: 1e4, rope_parameters: { rope_theta: 1e6 } },
      'rope_parameters.rope_theta is 1000000 but rope_theta is 10000',
    ],
    [
      'two types',
      { rope_scaling: { type: 'linear', rope_type: 'yarn', factor: 2 } },
      'rope_type "yarn" but type "linear"',
    ],
    [
      'two factors',
      {
        rope_scaling: { type: 'linear', factor: 2 },
        rope_parameters: { rope_type: 'linear', factor: 4 },
      },
      'factor is 2',
    ],
    ['no factor', { rope_scaling: { type: 'linear' } }, 'without "factor"'],
    [
      'llama3 without bounds',
      { rope_scaling: { rope_type: 'llama3', factor: 8 } },
      'without "low_freq_factor"',
    ],
    [
      'llama3 with reversed bounds',
      { rope_scaling: { rope_type: 'llama3', factor: 8, low_freq_factor: 4, high_freq_factor: 1 } },
      'high_freq_factor 1',
    ],
    ['a factor as text', { rope_scaling: { type: 'linear', factor: '2' } }, 'factor'],
    ['a factor below 1', { rope_scaling: { type: 'linear', factor: 0.5 } }, 'factor'],
    ['a theta of 0', { rope_theta: 0 }, 'rope_theta'],
    ['a theta whose frequencies have no end', { rope_theta: 1e-320 }, 'rope_theta'],
    ['a theta of 1, which yarn divides by', { rope_parameters: { rope_theta: 1 } }, 'rope_theta'],
    ['a factor without end', { rope_scaling: { type: 'linear', factor: 1e308 } }, 'factor'],
    [
      'a beta whose logarithm has no end',
      { rope_scaling: { type: 'yarn', factor: 4, beta_fast: 1e-320 } },
      'beta_fast',
    ],
    [
      'mscales whose ratio is no number',
      { rope_scaling: { type: 'yarn', factor: 4, mscale: 1e308, mscale_all_dim: 1e308 } },
      'mscale',
    ],
    [
      'an unknown type',
      { rope_scaling: { type: 'longrope', factor: 2 } },
      '"longrope" where default, linear, dynamic, llama3, yarn',
    ],
    ['partial rotation', { partial_rotary_factor: 0.5 }, 'partial_rotary_factor 0.5'],
    [
      'partial rotation, nested',
      { rope_parameters: { partial_rotary_factor: 0.5 } },
      'partial_rotary_factor 0.5',
    ],
    [
      'layer types that differ',
      {
        rope_parameters: {
          full_attention: { rope_theta: 1e6 },
          sliding_attention: { rope_theta: 1e4 },
        },
      },
      'full_attention and sliding_attention',
    ],
  ])('refuses %s', (_, fields, message) => {
    expect(() => parse(fields)).toThrow(message);
    expect(() => parse(fields)).toThrow('config.json');
    expect(() => parse(fields)).toThrow(SdaError);
  });
});

describe('refusals', () => {
  it.each([
    [
      'an unknown model_type',
      { model_type: 'gpt_neox' },
      'unsupported',
      '"gpt_neox" where llama, mistral, qwen2, qwen3',
    ],
    ['a name inherited by objects', { model_type: 'constructor' }, 'unsupported', '"constructor"'],
    ['an unknown activation', { hidden_act: 'gelu' }, 'unsupported', '"gelu" where silu, swish'],
    [
      'another kind of head',
      { architectures: ['LlamaForSequenceClassification'] },
      'unsupported',
      'LlamaForSequenceClassification',
    ],
    [
      'quantised weights',
      { quantization_config: { quant_method: 'gptq', bits: 4 } },
      'unsupported',
      'quantised by gptq',
    ],
    [
      'quantised weights without a usable name',
      { quantization_config: { quant_method: { toString: 1 } } },
      'unsupported',
      'quantised by an unnamed method',
    ],
    ['an epsilon that is 0 as float32', { rms_norm_eps: 1e-320 }, 'bad-config', 'rms_norm_eps'],
    ['a huge epsilon', { rms_norm_eps: 1e308 }, 'bad-config', 'rms_norm_eps'],
    [
      'more heads than int32 counts',
      { num_attention_heads: 2 ** 30, head_dim: 2 ** 30 },
      'bad-config',
      'together more than 2147483647',
    ],
    [
      'a name that moves the cursor',
      { hidden_act: '\u001b[2J\n' },
      'unsupported',
      '"\\u001b[2J\\u000a" where silu',
    ],
    [
      'kv heads that do not divide',
      { num_key_value_heads: 3 },
      'bad-config',
      'num_key_value_heads 3',
    ],
    ['heads that do not divide', { hidden_size: 66 }, 'bad-config', 'hidden_size 66'],
    ['odd heads', { head_dim: 15 }, 'bad-config', 'size 15'],
    ['no heads', { num_attention_heads: 0 }, 'bad-config', 'num_attention_heads'],
    ['absurdly many layers', { num_hidden_layers: 1e12 }, 'bad-config', 'num_hidden_layers'],
    ['a size as text', { hidden_size: '64' }, 'bad-config', 'hidden_size'],
    ['a missing size', { vocab_size: undefined }, 'bad-config', 'vocab_size'],
    [
      'another layer type',
      {
        model_type: 'qwen3',
        layer_types: ['full_attention', 'linear_attention', 'full_attention'],
      },
      'unsupported',
      'linear_attention',
    ],
    [
      'layer types of another count',
      { model_type: 'qwen2', layer_types: ['full_attention'] },
      'bad-config',
      '1 layer_types where num_hidden_layers is 3',
    ],
    [
      'sliding layers without a window',
      {
        model_type: 'qwen2',
        layer_types: ['full_attention', 'sliding_attention', 'full_attention'],
      },
      'bad-config',
      'no sliding window in use',
    ],
  ])('%s', (_, fields, code, message) => {
    expect(() => parse(fields)).toThrow(message);
    expect(() => parse(fields)).toThrow(expect.objectContaining({ code }));
  });

  it.each([[null], [[]], ['llama'], [{}], [{ model_type: 7 }]])(
    '%j is no configuration',
    (json) => {
      expect(() => parseConfig(json, { file: 'config.json' })).toThrow('model_type');
    },
  );

  it('of files: missing, broken, duplicate keys, a broken generation config', async () => {
    const dir = await temporaryFolder();
    await expect(loadConfig(dir)).rejects.toMatchObject({ code: 'file-missing' });
    const load = async (config: string, generation = '{}') =>
      loadConfig(
        await temporaryFolder({ 'config.json': config, 'generation_config.json': generation }),
      );
    await expect(load('{')).rejects.toThrow('config.json is not valid JSON');
    await expect(load('{"model_type":"llama","model_type":"qwen2"}')).rejects.toThrow(
      '"model_type" twice',
    );
    await expect(load(JSON.stringify(BASE), '{"eos_token_id":"</s>"}')).rejects.toThrow(
      'generation_config.json',
    );
    await expect(load(JSON.stringify(BASE), '{')).rejects.toThrow(
      'generation_config.json is not valid JSON',
    );
  });

  it('never throws anything but SdaError', () => {
    const keys = [
      ...Object.keys(PUBLISHED['Qwen3-0.6B']),
      'rope_parameters',
      'layer_types',
      'eos_token_id',
    ];
    const mutation = fc.tuple(
      fc.constantFrom(...keys),
      fc.oneof(fc.jsonValue(), fc.integer(), fc.constant(undefined)),
    );
    const bases = fc.constantFrom(...Object.values(PUBLISHED));
    fc.assert(
      fc.property(
        bases,
        fc.array(mutation, { minLength: 1, maxLength: 3 }),
        fc.option(fc.jsonValue()),
        (base, mutations, generationConfig) => {
          const fields = { ...base, ...Object.fromEntries(mutations) };
          try {
            parseConfig(fields, { file: 'config.json', generationConfig });
          } catch (error) {
            expect(error).toBeInstanceOf(SdaError);
          }
        },
      ),
      { numRuns: 500 },
    );
  });
});
