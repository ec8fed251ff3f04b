import { expect, test } from 'vitest';
import { loadModel } from '../../src/index.js';
import { golden } from '../support/checkpoints.js';
import { copyOf } from '../support/folders.js';
import { useTensorFlow } from '../support/tensorflow.js';
import { addTokenizer } from '../support/tiny-tokenizer.js';

useTensorFlow();

/** Tokens of the tiny tokenizer: 6 special ones and printable ASCII. */
const TOKENS = 101;

test('ids of the vocabulary that have no token are never drawn', async () => {
  const { sda } = golden('tiny-llama');
  const drawn = async (withTokenizer: boolean) => {
    const dir = copyOf('tiny-llama'); // 131 rows in its embedding
    if (withTokenizer) addTokenizer(dir);
    const model = await loadModel(dir);
    const ids: number[] = [];
    const request = {
      prompts: { baseIds: sda.base, instructedIds: sda.instructed },
      settings: { amplification: 0.5, t0: 2, tMin: 2 },
      seed: 3,
      maxTokens: 60,
      ignoreEos: true,
    };
    for await (const { id } of model.generate(request)) ids.push(id);
    model.dispose();
    return ids;
  };
  const free = await drawn(false);
  expect(free.filter((id) => id >= TOKENS).length).toBeGreaterThan(0);
  const held = await drawn(true);
  expect(held.length).toBeGreaterThan(20);
  expect(held.filter((id) => id >= TOKENS)).toEqual([]);
});
