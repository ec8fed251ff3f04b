import { memory } from '@tensorflow/tfjs-core';
import { describe, expect, test } from 'vitest';
import { loadDecoder } from '../../src/model/load-model.js';
import { golden } from '../support/checkpoints.js';
import { type BindingCall, failingAt } from '../support/failing.js';
import { copyOf } from '../support/folders.js';
import { rewriteTensors, stored } from '../support/safetensors.js';
import { expectSteps, stepsAlone } from '../support/steps.js';
import { errorOf, expectNoLeak, useTensorFlow } from '../support/tensorflow.js';
import { TOLERANCE } from '../support/tolerances.js';

useTensorFlow();

/** A checkpoint with stacks of one type, of several types, and a cast for each. */
async function mixedCheckpoint(): Promise<string> {
  const dir = copyOf('tiny-qwen3');
  await rewriteTensors(dir, (tensor) =>
    /layers\.1\.(self_attn\.k_proj|mlp\.up_proj)/.test(tensor.name)
      ? stored(tensor, 'F32')
      : tensor,
  );
  return dir;
}

/** Loading and running still give transformers' logits: nothing of a failed load is used. */
async function expectWorks(dir: string): Promise<void> {
  const { prompt, ids, logits } = golden('tiny-qwen3').greedy;
  const model = await loadDecoder(dir);
  expectSteps(stepsAlone(model, prompt, ids), logits, TOLERANCE.logits);
  model.dispose();
}

describe.each(['auto', 'float16'] as const)('a load with dtype %s that ends early', (dtype) => {
  test('by a signal or an error at each tensor', async () => {
    const dir = await mixedCheckpoint();
    let tensors = 0;
    (await loadDecoder(dir, { dtype, onProgress: () => tensors++ })).dispose();
    expect(tensors).toBe(3 + 2 * 11);
    for (const how of ['abort', 'throw'] as const) {
      for (let at = 0; at < tensors - 1; at++) {
        const controller = new AbortController();
        let seen = 0;
        const onProgress = () => {
          if (seen++ !== at) return;
          if (how === 'throw') throw new Error('stop');
          controller.abort();
        };
        const error = await expectNoLeak(() =>
          errorOf(() => loadDecoder(dir, { dtype, signal: controller.signal, onProgress })),
        );
        expect(error).toMatchObject(how === 'throw' ? { message: 'stop' } : { code: 'aborted' });
      }
    }
    await expectNoLeak(() => expectWorks(dir));
  });

  test.each<BindingCall>(['createTensor', 'executeOp'])('at each call of %s', async (call) => {
    const dir = await mixedCheckpoint();
    let at = 0;
    for (let failed = true; failed; at++) {
      const before = memory().numTensors;
      const result = await failingAt(at, call, async () => {
        (await loadDecoder(dir, { dtype })).dispose();
      });
      ({ failed } = result);
      expect(result.error).toEqual(failed ? new Error('OOM') : undefined);
      expect(memory().numTensors, `call ${at}`).toBe(before);
    }
    expect(at).toBeGreaterThan(15);
    await expectNoLeak(() => expectWorks(dir));
  });
});

test('a signal that fired before stops it before anything is read', async () => {
  const dir = await mixedCheckpoint();
  const signal = AbortSignal.abort();
  let read = 0;
  const error = await expectNoLeak(() =>
    errorOf(() => loadDecoder(dir, { signal, onProgress: () => read++ })),
  );
  expect(error).toMatchObject({ code: 'aborted' });
  expect(read).toBe(0);
});
