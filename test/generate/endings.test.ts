import { renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { type GenerateSummary, loadModel, type SdaStep } from '../../src/index.js';
import { summaryOf } from '../support/answers.js';
import { copyOf, editJson } from '../support/folders.js';
import { useTensorFlow } from '../support/tensorflow.js';
import { addTokenizer, TINY_TEMPLATE } from '../support/tiny-tokenizer.js';

useTensorFlow();

/** A rule that draws the given ids, whatever the logits. */
function draws(ids: readonly number[]): SdaStep {
  let step = 0;
  return async (_, { settings }) => {
    const id = ids[step++]!;
    const fields = { js: 0, temperature: 1, logpBase: 0, logpInstructed: 0, logp: 0 };
    return settings.map(() => ({ id, ...fields }));
  };
}

async function answered(dir: string, request: object): Promise<GenerateSummary> {
  const model = await loadModel(dir);
  try {
    return await summaryOf(model.generate({ query: 'Hi', maxTokens: 5, ...request }));
  } finally {
    model.dispose();
  }
}

describe('an answer ends at what any file names', () => {
  const [CONFIG, GENERATION, TOKENIZER] = [40, 41, 4]; // '<|bot|>' is the tokenizer's token 4
  const talking = () => {
    const dir = copyOf('tiny-llama-tied');
    addTokenizer(dir, TINY_TEMPLATE);
    editJson(join(dir, 'config.json'), { eos_token_id: CONFIG });
    writeFileSync(join(dir, 'generation_config.json'), `{"eos_token_id": [${GENERATION}]}`);
    editJson(join(dir, 'tokenizer_config.json'), { eos_token: '<|bot|>' });
    return dir;
  };

  test.each([
    ['config.json', CONFIG],
    ['generation_config.json', GENERATION],
    ['tokenizer_config.json', TOKENIZER],
  ])('%s', async (_, id) => {
    const rule = () => draws([50, id, 50, 50, 50]);
    const ended = await answered(talking(), { rule: rule() });
    expect(ended).toMatchObject({ tokenIds: [50, id], finishReason: 'stop' });
    const ignored = await answered(talking(), { rule: rule(), ignoreEos: true });
    expect(ignored).toMatchObject({ tokenIds: [50, id, 50, 50, 50], finishReason: 'length' });
  });

  test('and at nothing else', async () => {
    const ids = [50, 2, 3, 51, 52]; // 2 was the end before
    expect(await answered(talking(), { rule: draws(ids) })).toMatchObject({ tokenIds: ids });
  });
});

describe('a tokenizer in another form', () => {
  test.each(['tokenizer.model', 'vocab.json'])('%s is named, and ids run', async (name) => {
    const dir = copyOf('tiny-llama-tied');
    addTokenizer(dir, TINY_TEMPLATE);
    renameSync(join(dir, 'tokenizer.json'), join(dir, name));
    await expect(answered(dir, {})).rejects.toMatchObject({
      code: 'unsupported',
      message: `${dir} has its tokenizer as ${name} where tokenizer.json is needed; run "npx sda import ${dir} --out DIR".`,
    });
    const prompts = { baseIds: [7, 8], instructedIds: [7, 8, 9] };
    const { finishReason } = await answered(dir, { query: undefined, prompts, maxTokens: 1 });
    expect(finishReason).toBe('length');
  });

  test('ids that no token has are refused in a prompt, where the tokenizer has more than the model', async () => {
    const dir = copyOf('tiny-llama-tied'); // V = 101
    addTokenizer(dir, `{{ '<more>' }}${TINY_TEMPLATE}`, ['<more>']);
    await expect(answered(dir, {})).rejects.toMatchObject({ code: 'bad-input' });
    expect(
      await answered(dir, { query: undefined, prompts: { baseIds: [7], instructedIds: [8] } }),
    ).toBeDefined();
  });
});
