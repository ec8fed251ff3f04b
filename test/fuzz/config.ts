import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parseJson } from '../../src/checkpoint/json-file.js';
import { SdaError } from '../../src/errors.js';
import { type ModelConfig, parseConfig } from '../../src/model/config.js';
import { checkTensors, expectedTensors } from '../../src/model/families.js';
import { ropeInverseFrequencies } from '../../src/model/rope.js';
import { CHECKPOINTS, type CheckpointName, checkpointDir } from '../support/checkpoints.js';
import { fresh, json, utf8 } from './files.js';
import { type Dice, type Json, mutateBytes, mutateJson } from './mutate.js';
import { expectAccepted, fuzz } from './outcome.js';

/** Stands in the place of a file's path. */
const NAME = '/folder/config.json';

/** The values of `fields` over those of a tiny checkpoint. */
const variant = (name: CheckpointName, fields: { [key: string]: Json }): Json => ({
  ...(json(join(checkpointDir(name), 'config.json')) as object),
  ...fields,
});

describe('config.json', () => {
  const llama3 = { rope_type: 'llama3', factor: 8, low_freq_factor: 1, high_freq_factor: 4 };
  const yarn = { rope_type: 'yarn', factor: 4, beta_fast: 32, mscale: 1, mscale_all_dim: 0.7 };
  const configs = [
    ...CHECKPOINTS.map((name) => json(join(checkpointDir(name), 'config.json'))),
    variant('tiny-llama-tied', { rope_scaling: yarn, original_max_position_embeddings: 64 }),
    variant('tiny-llama-tied', { rope_scaling: llama3, rope_theta: 5e5 }),
    variant('tiny-llama-tied', { rope_scaling: { type: 'dynamic', factor: 2 } }),
    variant('tiny-llama-tied', {
      rope_theta: null,
      rope_parameters: { ...llama3, rope_theta: 5e5 },
      rope_scaling: { type: 'llama3', ...llama3 },
    }),
    variant('tiny-qwen2', { use_sliding_window: true, sliding_window: 8, max_window_layers: 1 }),
    variant('tiny-qwen2', {
      quantization_config: { quant_method: 'gptq' },
      architectures: ['Qwen2ForCausalLM'],
      layer_types: ['full_attention', 'full_attention'],
    }),
  ];

  it('values', async () => {
    const { accepted } = await fuzz(7000, [NAME], (dice) => {
      let json = fresh(dice.pick(configs));
      if (dice.below(2) === 0) tweakNumbers(json as { [key: string]: Json }, dice);
      else json = mutateJson(json, dice);
      const text = JSON.stringify(json);
      const config = parseConfig(parseJson(text, NAME, 'bad-config'), {
        file: NAME,
        ...(dice.below(2) === 0 && {
          generationConfig: mutateJson({ eos_token_id: [1, 2] }, dice),
        }),
      });
      expectUsable(config);
      if (config.numLayers <= 100) {
        for (const { shape } of expectedTensors(config)) {
          expect(shape.every((size) => Number.isSafeInteger(size) && size > 0)).toBe(true);
        }
        // no tensor is there: always an error
        expect(() => checkTensors(config, new Map(), 'D')).toThrow(SdaError);
      }
    });
    expectAccepted(accepted, 500);
  });

  it('texts', async () => {
    const bytes = utf8(JSON.stringify(configs[1]));
    await fuzz(1000, [NAME], (dice) => {
      const text = new TextDecoder().decode(mutateBytes(bytes, dice));
      parseConfig(parseJson(text, NAME, 'bad-config'), { file: NAME });
    });
  });
});

/** Other numbers in the places of some numbers, nested ones too. */
function tweakNumbers(object: { [key: string]: Json }, dice: Dice): void {
  for (const [key, value] of Object.entries(object)) {
    if (typeof value === 'number' && dice.below(8) === 0) {
      object[key] = dice.pick([
        1,
        2,
        3,
        6,
        7,
        64,
        1e-320,
        1e-38,
        0.3,
        1e4,
        2 ** 31 - 1,
        1e39,
        1e308,
      ]);
    } else if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
      tweakNumbers(value, dice);
    }
  }
}

/** Holds accepted numbers to what the decoder needs of them, without the code that accepted them. */
function expectUsable(config: ModelConfig) {
  const { numHeads, numKeyValueHeads, headDim, rotaryDim, numLayers } = config;
  for (const size of [
    config.vocabSize,
    config.hiddenSize,
    config.intermediateSize,
    config.maxPositionEmbeddings,
    config.slidingWindow ?? 1,
    numHeads * headDim,
    numLayers,
    numKeyValueHeads,
  ]) {
    expect(Number.isInteger(size) && size > 0 && size < 2 ** 31).toBe(true);
  }
  expect(numHeads % numKeyValueHeads).toBe(0);
  expect(headDim % 2).toBe(0);
  expect(rotaryDim % 2 === 0 && rotaryDim > 0 && rotaryDim <= headDim).toBe(true);
  expect(config.slidingWindowLayers).toHaveLength(numLayers);
  expect(config.slidingWindowLayers.includes(true)).toBe(config.slidingWindow !== null);
  expect(config.rotatedLayers).toHaveLength(numLayers);
  const { rmsNormEps, embeddingScale, logitsScale, attentionScale } = config;
  for (const value of [rmsNormEps, embeddingScale, logitsScale, attentionScale ?? 1]) {
    const single = Math.fround(value);
    expect(single > 0 && single < Number.POSITIVE_INFINITY).toBe(true);
  }
  for (const { id } of config.endings) expect(Number.isInteger(id) && id >= 0).toBe(true);
  if (headDim > 256) return;
  for (const length of [1, config.maxPositionEmbeddings, 2 ** 31]) {
    const { inverseFrequencies, attentionScaling } = ropeInverseFrequencies(
      config.rope,
      rotaryDim,
      length,
    );
    const unusable = (value: number) => !(value >= 0 && Number.isFinite(value * 2 ** 31));
    expect([...inverseFrequencies, Math.fround(attentionScaling)].filter(unusable)).toEqual([]);
    expect(Math.fround(attentionScaling)).toBeGreaterThan(0);
  }
}
