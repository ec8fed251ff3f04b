import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { SdaError } from '../../src/errors.js';
import { loadConfig, parseConfig } from '../../src/model/config.js';
import { allEndings } from '../../src/model/endings.js';
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
        endings: [{ id: 2, from: ['config.json'] }],
        rmsNormEps: 1e-5,
        dtype: 'float16',
        attentionBias: false,
        qkNorm: 'none',
        slidingWindow: null,
      },
    ],
    [
      'Llama-3.1-8B-Instruct',
      {
        headDim: 128,
        numKeyValueHeads: 8,
        endings: [128001, 128008, 128009].map((id) => ({ id, from: ['config.json'] })),
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
        qkNorm: 'each-head',
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
      rotaryDim: 16,
      rotatedLayers: [true, true, true],
      embeddingScale: 1,
      attentionScale: null,
      logitsScale: 1,
      maxPositionEmbeddings: 2048,
      contextLength: 2048,
      tieWordEmbeddings: false,
      attentionBias: false,
      attentionOutputBias: false,
      mlpBias: false,
      qkNorm: 'none',
      normsAfter: false,
      fusedProjections: false,
      slidingWindow: null,
      slidingWindowLayers: [false, false, false],
      endings: [],
      bosTokenId: null,
      padTokenId: null,
      dtype: null,
      quantisation: null,
      quantisationConfig: null,
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
    const { endings } = parse(eos === undefined ? {} : { eos_token_id: eos }, generation);
    expect(endings.map(({ id }) => id)).toEqual(expected);
  });

  it('are told with where they stand', () => {
    const { endings } = parse({ eos_token_id: [7, 9, -1] }, { eos_token_id: [9, 9, 8] });
    expect(endings).toEqual([
      { id: 9, from: ['generation_config.json', 'config.json'] },
      { id: 8, from: ['generation_config.json'] },
      { id: 7, from: ['config.json'] },
    ]);
    const named = (eosTokenId: number | null) => allEndings({ endings }, { eosTokenId });
    expect(named(5)).toEqual([...endings, { id: 5, from: ['tokenizer'] }]);
    expect(named(8)).toContainEqual({ id: 8, from: ['generation_config.json', 'tokenizer'] });
    expect(named(null)).toEqual(endings);
    expect(allEndings({ endings }, null)).toEqual(endings);
  });

  it('are found in generation_config.json of a folder', async () => {
    const dir = await temporaryFolder({
      'config.json': JSON.stringify(BASE),
      'generation_config.json': '{"eos_token_id": [9, 8]}',
    });
    expect((await loadConfig(dir)).endings.map(({ id }) => id)).toEqual([9, 8]);
  });
});

describe('the context', () => {
  const yarn = { type: 'yarn', factor: 4, original_max_position_embeddings: 32_768 };
  const llama3 = {
    ...{ type: 'llama3', factor: 8, low_freq_factor: 1, high_freq_factor: 4 },
    original_max_position_embeddings: 8192,
  };
  const factors = { short_factor: Array(8).fill(1), long_factor: Array(8).fill(2) };
  const longrope = { type: 'longrope', ...factors, original_max_position_embeddings: 4096 };
  it.each<[string, number, object | null, number]>([
    ['no scaling', 32_768, null, 32_768],
    ['yarn, the trained length in both keys', 32_768, yarn, 131_072],
    ['yarn, the scaled length in the config', 131_072, yarn, 131_072],
    ['yarn, another length in the config', 40_960, yarn, 131_072],
    ['yarn, more in the config', 163_840, yarn, 163_840],
    ['yarn, trained for what the config says', 2048, { type: 'yarn', factor: 2.5 }, 5120],
    ['linear', 4096, { type: 'linear', factor: 4 }, 16_384],
    ['dynamic', 4096, { type: 'dynamic', factor: 2 }, 8192],
    ['llama3, as published', 131_072, llama3, 131_072],
    ['llama3, the trained length in both keys', 8192, llama3, 65_536],
    ['longrope, as published', 131_072, longrope, 131_072],
    ['longrope with a factor', 4096, { ...longrope, factor: 32 }, 131_072],
    ['more than int32 counts', 2 ** 30, { type: 'linear', factor: 1e6 }, 2 ** 31 - 1],
  ])('%s', (_, length, scaling, expected) => {
    const config = parse({ max_position_embeddings: length, rope_scaling: scaling });
    expect(config.contextLength).toBe(expected);
    expect(config.maxPositionEmbeddings).toBe(length);
  });
});

describe('quantization_config', () => {
  it.each<[object | null, string | null]>([
    [null, null],
    [{}, null],
    [{ quant_method: 'bitsandbytes', load_in_4bit: false, load_in_8bit: false }, null],
    [{ load_in_4bit: false, load_in_8bit: false }, null],
    [{ load_in_4bit: true }, 'bitsandbytes'],
    [{ quant_method: 'bitsandbytes', load_in_8bit: true, load_in_4bit: false }, 'bitsandbytes'],
    [{ quant_method: 'gptq', bits: 4 }, 'gptq'],
    [{ quant_method: { toString: 1 } }, null],
  ])('%j says %j', (quantization_config, expected) => {
    expect(parse({ quantization_config }).quantisation).toBe(expected);
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
      { rope_scaling: { type: 'mrope', factor: 2 } },
      '"mrope" where default, linear, dynamic, llama3, yarn, longrope',
    ],
    [
      'longrope without its factors',
      { rope_scaling: { type: 'longrope', short_factor: Array(8).fill(1) } },
      'of type "longrope" without "long_factor"',
    ],
    [
      'longrope with too few of them',
      { rope_scaling: { type: 'longrope', short_factor: [1], long_factor: Array(8).fill(1) } },
      '1 numbers in "short_factor" where half the rotated dimensions of a head, 8, is needed',
    ],
    [
      'longrope for a single position',
      {
        original_max_position_embeddings: 1,
        rope_scaling: {
          type: 'longrope',
          short_factor: Array(8).fill(1),
          long_factor: Array(8).fill(1),
        },
      },
      'original_max_position_embeddings 1',
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
    ['a context of one position', { max_position_embeddings: 1 }, 'bad-config', '>=2'],
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
