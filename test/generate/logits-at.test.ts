import { afterAll, beforeAll, expect, test } from 'vitest';
import { loadModel, type SdaModel } from '../../src/generate/sda-model.js';
import { checkpointDir, golden } from '../support/checkpoints.js';
import { expectSteps } from '../support/steps.js';
import { errorOf, expectNoLeak, useTensorFlow } from '../support/tensorflow.js';
import { TOLERANCE } from '../support/tolerances.js';

useTensorFlow();

let model: SdaModel;
beforeAll(async () => {
  model = await loadModel(checkpointDir('tiny-llama'));
});
afterAll(() => model.dispose());

const { prompt, ids, logits } = golden('tiny-llama').greedy;
const text = [...prompt, ...ids.slice(0, -1)];

test('logits after each token of an answer are those of transformers', async () => {
  const positions = ids.map((_, step) => prompt.length - 1 + step);
  const found = await expectNoLeak(() => model.logitsAt(text, positions));
  expectSteps(
    found.map((values) => [...values]),
    logits.slice(0, ids.length),
    TOLERANCE.logits,
  );
});

test('come in the order that is asked for, all by default', async () => {
  const all = await model.logitsAt(text);
  expect(all).toHaveLength(text.length);
  expect(await model.logitsAt(text, [3, 0, 3])).toEqual([all[3], all[0], all[3]]);
  expect(await model.logitsAt(text, [])).toEqual([]);
});

test('a position that is not there is refused', async () => {
  expect(await errorOf(() => model.logitsAt([1, 2], [2]))).toMatchObject({
    code: 'bad-input',
    message: 'There is no position 2: the ids have the positions 0..1.',
  });
});
