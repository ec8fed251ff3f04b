import { describe, expect, it } from 'vitest';
import { parseConfig } from '../../src/model/config.js';
import { MODEL_TYPES } from '../../src/model/family.js';
import { parameterCount } from '../../src/model/memory-plan.js';
import { BASE } from './configs.js';

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

  it('has the published number of parameters', () => {
    const mini = {
      ...phi3,
      vocab_size: 32_064,
      hidden_size: 3072,
      intermediate_size: 8192,
      num_hidden_layers: 32,
      num_attention_heads: 32,
    };
    expect(parameterCount(parse(mini))).toBe(3_821_079_552); // Phi-3-mini-4k-instruct
    const phi4 = { vocab_size: 200_064, num_attention_heads: 24, num_key_value_heads: 8 };
    const tied = { tie_word_embeddings: true, partial_rotary_factor: 0.75 };
    const config = parse({ ...mini, ...phi4, ...tied });
    expect(config).toMatchObject({ headDim: 128, rotaryDim: 96 });
    expect(parameterCount(config)).toBe(3_836_021_760); // Phi-4-mini-instruct
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

it.each(MODEL_TYPES.filter((type) => type !== 'phi3'))('%s rotates whole heads', (model_type) => {
  expectRefusal(
    { model_type, partial_rotary_factor: 0.5 },
    'unsupported',
    'partial_rotary_factor 0.5 where only 1',
  );
});
