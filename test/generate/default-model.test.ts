import { afterAll, beforeAll, expect, test } from 'vitest';
import { loadModel, type SdaModel } from '../../src/index.js';
import { defaultModelDir } from '../../src/runtime/paths.js';
import { readAll } from '../support/answers.js';

let model: SdaModel;
beforeAll(async () => {
  model = await loadModel(defaultModelDir());
});
afterAll(() => model.dispose());

async function run(request: Parameters<SdaModel['generate']>[0]) {
  const { steps, summary } = await readAll(model.generate(request));
  return { deltas: steps.map(({ text }) => text), summary };
}

test('the default model answers a chat prompt in English, the same bit for bit', async () => {
  const request = {
    query: 'What is the capital of France?',
    settings: { mode: 'base', greedy: true },
    maxTokens: 24,
  } as const;
  const first = await run(request);
  expect(first.summary.text).toBe('The capital of France is Paris.');
  expect(first.summary.finishReason).toBe('stop');
  expect(first.deltas.join('')).toBe(first.summary.text);
  expect((await run(request)).summary.tokenIds).toEqual(first.summary.tokenIds);
});

test('a seed repeats a sampled SDA text; a stop string cuts it', async () => {
  const request = {
    query: 'How do plants grow?',
    core: 'empathy',
    maxTokens: 20,
    seed: 5,
  } as const;
  const first = await run(request);
  const again = await run(request);
  expect(again.summary.text).toBe(first.summary.text);
  const word = first.summary.text.split(' ')[3]!;
  const cut = await run({ ...request, stop: [word] });
  expect(cut.summary.text).toBe(first.summary.text.slice(0, first.summary.text.indexOf(word)));
  expect(cut.deltas.join('')).toBe(cut.summary.text);
  expect(cut.summary.finishReason).toBe('stop');
});
