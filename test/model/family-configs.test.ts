import { describe, expect, it } from 'vitest';
import { parseConfig } from '../../src/model/config.js';
import { expectedTensors } from '../../src/model/families.js';
import { MODEL_TYPES } from '../../src/model/family.js';
import { parameterCount } from '../../src/model/memory-plan.js';
import { BASE, OTHER_FAMILIES } from './configs.js';

const parse = (fields: object) => parseConfig({ ...BASE, ...fields }, { file: 'config.json' });

/** What every refusal of a config must be: one sentence with the file in it. */
function expectRefusal(fields: object, code: string, message: string) {
  expect(() => parse(fields)).toThrow(expect.objectContaining({ code }));
  expect(() => parse(fields)).toThrow(message);
  expect(() => parse(fields)).toThrow(/^config\.json [^\n]*\.$/);
}

describe('phi3', () => {
  const phi3 = { model_type: 'phi3' };
  const factors = { short_factor: Array(6).fill(1), long_factor: Array(6).fill(2) };

  it('has the defaults of transformers', () => {
    expect(parse({ ...phi3, attention_bias: true, mlp_bias: true })).toMatchObject({
      fusedProjections: true,
      attentionBias: false,
      mlpBias: false,
      rmsNormEps: 1e-5,
      maxPositionEmbeddings: 4096,
      slidingWindow: null,
      rotaryDim: 16,
    });
  });

  it('takes the old names of LongRoPE, its trained length, and partial rotation', () => {
    for (const rope_scaling of [
      { type: 'su', ...factors },
      { type: 'yarn', ...factors },
      { type: 'su', rope_type: 'longrope', ...factors },
    ]) {
      const config = parse({
        ...phi3,
        rope_scaling,
        partial_rotary_factor: 0.75,
        max_position_embeddings: 8192,
      });
      expect(config.rope).toMatchObject({ type: 'longrope', factor: 2, originalMaxPosition: 4096 });
      expect(config).toMatchObject({ rotaryDim: 12, headDim: 16, contextLength: 8192 });
    }
  });

  it('sees a window in all layers', () => {
    expect(parse({ ...phi3, sliding_window: 2047 })).toMatchObject({
      slidingWindow: 2047,
      slidingWindowLayers: [true, true, true],
    });
  });

  it.each([
    ['an odd number rotated', { partial_rotary_factor: 0.2 }, 'rotates 3 of the 16'],
    ['none rotated', { partial_rotary_factor: 0.01 }, 'rotates 0 of the 16'],
    ['more than all rotated', { partial_rotary_factor: 1.5 }, 'rotates 24 of the 16'],
    [
      'factors for whole heads',
      { partial_rotary_factor: 0.5, rope_scaling: { type: 'longrope', ...factors } },
      '6 numbers in "short_factor" where half the rotated dimensions of a head, 4, is needed',
    ],
  ])('refuses %s', (_, fields, message) => {
    expectRefusal({ ...phi3, ...fields }, 'bad-config', message);
  });
});

describe('smollm3', () => {
  const smollm3 = { model_type: 'smollm3', num_hidden_layers: 5 };

  it('has the defaults of transformers', () => {
    expect(parse({ ...smollm3, attention_bias: true, mlp_bias: true })).toMatchObject({
      tieWordEmbeddings: true,
      attentionBias: true,
      mlpBias: true,
      rope: { type: 'default', theta: 2_000_000 },
      maxPositionEmbeddings: 32_768,
      slidingWindow: null,
    });
  });

  it.each([
    ['every fourth', {}, [true, true, true, false, true]],
    ['an interval', { no_rope_layer_interval: 2 }, [true, false, true, false, true]],
    ['a list', { no_rope_layers: [0, 1, 1, 0, 1] }, [false, true, true, false, true]],
    ['a longer list', { no_rope_layers: [1, 1, 1, 1, 0, 0] }, [true, true, true, true, false]],
    [
      'a list over an interval',
      { no_rope_layers: [1, 1, 1, 1, 1], no_rope_layer_interval: 1 },
      [true, true, true, true, true],
    ],
  ])('does not rotate %s', (_, fields, rotatedLayers) => {
    expect(parse({ ...smollm3, ...fields })).toMatchObject({ rotatedLayers });
  });

  it('sees a window in layers without rotation, where it is switched on', () => {
    const window = { sliding_window: 8, no_rope_layer_interval: 2 };
    expect(parse({ ...smollm3, ...window }).slidingWindow).toBeNull();
    expect(parse({ ...smollm3, ...window, use_sliding_window: true })).toMatchObject({
      slidingWindow: 8,
      slidingWindowLayers: [false, true, false, true, false],
    });
  });

  it.each([
    ['a short list', { no_rope_layers: [1, 0] }, '2 numbers in no_rope_layers where'],
    ['numbers that say nothing', { no_rope_layers: [1, 2, 0, 1, 1] }, 'no_rope_layers'],
    ['an interval of 0', { no_rope_layer_interval: 0 }, 'no_rope_layer_interval'],
    ['an interval as text', { no_rope_layer_interval: '4' }, 'no_rope_layer_interval'],
  ])('refuses %s', (_, fields, message) => {
    expectRefusal({ ...smollm3, ...fields }, 'bad-config', message);
  });

  it('reads keys that mean nothing elsewhere', () => {
    expect(parse({ no_rope_layers: 'none', embedding_multiplier: null }).rotatedLayers).toEqual([
      true,
      true,
      true,
    ]);
  });
});

describe('granite', () => {
  const granite = { model_type: 'granite' };
  const published = {
    embedding_multiplier: 12,
    attention_multiplier: 0.015625,
    residual_multiplier: 0.22,
    logits_scaling: 8,
  };

  it('has the defaults of transformers', () => {
    expect(parse({ ...granite, attention_bias: true, mlp_bias: true })).toMatchObject({
      embeddingScale: 1,
      attentionScale: 1,
      logitsScale: 1,
      rmsNormEps: 1e-6,
      attentionOutputBias: true,
      mlpBias: true,
    });
  });

  it('keeps the residual stream divided by its multiplier', () => {
    const config = parse({ ...granite, ...published, rms_norm_eps: 1e-5 });
    expect(config).toMatchObject({ attentionScale: 1 / 64, logitsScale: 1 / 8 });
    expect(config.embeddingScale).toBeCloseTo(12 / 0.22, 10);
    expect(config.rmsNormEps).toBeCloseTo(1e-5 / 0.0484, 10);
  });

  it('alone reads them', () => {
    expect(parse({ ...published, logits_scaling: 'none' })).toMatchObject({
      embeddingScale: 1,
      attentionScale: null,
      logitsScale: 1,
    });
  });

  it.each(Object.keys(published))('refuses %s as text, of 0, negative or without end', (key) => {
    for (const value of ['1', 0, -1, 1e300]) {
      expectRefusal({ ...granite, [key]: value }, 'bad-config', key);
    }
  });
});

describe('olmo2', () => {
  const olmo2 = { model_type: 'olmo2', num_key_value_heads: 2 };

  it('has the defaults of transformers', () => {
    expect(parse({ ...olmo2, attention_bias: true, mlp_bias: true })).toMatchObject({
      qkNorm: 'all-heads',
      normsAfter: true,
      rmsNormEps: 1e-5,
      attentionOutputBias: true,
      mlpBias: false,
    });
  });

  it('normalises what attention and MLP add, and all heads together', () => {
    const tensors = expectedTensors(parse(olmo2)).filter(({ name }) => name.includes('layers.0.'));
    const norms = tensors.filter(({ role }) => role === 'norm');
    expect(norms.map(({ name, shape }) => [name.split('.').at(-2), ...shape])).toEqual([
      ['q_norm', 64],
      ['k_norm', 32],
      ['post_attention_layernorm', 64],
      ['post_feedforward_layernorm', 64],
    ]);
  });
});

it.each(Object.entries(OTHER_FAMILIES))('%s has its published number of parameters', (_, one) => {
  expect(parameterCount(parse(one.config))).toBe(one.parameters);
});

it.each([
  ['gemma2', 'GeGLU'],
  ['gemma3_text', 'GeGLU'],
  ['gemma3', 'another rotation'],
  ['olmo', 'LayerNorm'],
  ['phi', 'side by side'],
  ['mixtral', 'experts'],
])('%s is refused with what it needs', (model_type, missing) => {
  expectRefusal({ model_type }, 'unsupported', `"${model_type}" (which needs `);
  expectRefusal({ model_type }, 'unsupported', missing);
});

it.each(MODEL_TYPES.filter((type) => type !== 'phi3'))('%s rotates whole heads', (model_type) => {
  expectRefusal(
    { model_type, partial_rotary_factor: 0.5 },
    'unsupported',
    'partial_rotary_factor 0.5 where only 1',
  );
});
