import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parseJson } from '../../src/checkpoint/json-file.js';
import { SdaError } from '../../src/errors.js';
import { parseConfig } from '../../src/model/config.js';
import { checkTensors, expectedTensors } from '../../src/model/families.js';
import { CHECKPOINTS, checkpointDir } from '../support/checkpoints.js';
import { fresh, json, utf8 } from './files.js';
import { type Json, mutateBytes, mutateJson } from './mutate.js';
import { fuzz } from './outcome.js';

describe('config.json', () => {
  const configs = [
    ...CHECKPOINTS.map((name) => json(join(checkpointDir(name), 'config.json'))),
    {
      ...(json(join(checkpointDir('tiny-llama-tied'), 'config.json')) as object),
      rope_scaling: { rope_type: 'yarn', factor: 4, beta_fast: 32 },
    } as Json,
    {
      ...(json(join(checkpointDir('tiny-qwen2'), 'config.json')) as object),
      use_sliding_window: true,
      sliding_window: 8,
      max_window_layers: 1,
    } as Json,
  ];

  it('values', async () => {
    const { accepted } = await fuzz(7000, (dice) => {
      const text = JSON.stringify(mutateJson(fresh(dice.pick(configs)), dice));
      const config = parseConfig(parseJson(text, 'C', 'bad-config'), {
        file: 'C',
        ...(dice.below(2) === 0 && {
          generationConfig: mutateJson({ eos_token_id: [1, 2] }, dice),
        }),
      });
      for (const size of [
        config.vocabSize,
        config.hiddenSize,
        config.intermediateSize,
        config.numLayers,
        config.headDim,
        config.maxPositionEmbeddings,
        config.rmsNormEps,
        config.rope.theta,
      ]) {
        expect(size > 0 && Number.isFinite(size)).toBe(true);
      }
      expect(config.numHeads % config.numKeyValueHeads).toBe(0);
      expect(config.headDim % 2).toBe(0);
      expect(config.slidingWindowLayers).toHaveLength(config.numLayers);
      for (const id of config.eosTokenIds) expect(Number.isInteger(id) && id >= 0).toBe(true);
      if (config.numLayers <= 100) {
        for (const { shape } of expectedTensors(config)) {
          expect(shape.every((size) => Number.isSafeInteger(size) && size > 0)).toBe(true);
        }
        // no tensor is there: always an error
        expect(() => checkTensors(config, new Map(), 'D')).toThrow(SdaError);
      }
    });
    expect(accepted).toBeGreaterThan(500);
  });

  it('texts', async () => {
    const bytes = utf8(JSON.stringify(configs[1]));
    await fuzz(1000, (dice) => {
      const text = new TextDecoder().decode(mutateBytes(bytes, dice));
      parseConfig(parseJson(text, 'C', 'bad-config'), { file: 'C' });
    });
  });
});
