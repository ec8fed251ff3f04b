import { memory } from '@tensorflow/tfjs-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { composedLoop } from '../../src/bench/composed-loop.js';
import { benchDecoding } from '../../src/bench/decoding.js';
import { benchPrompts } from '../../src/bench/prompts.js';
import { loadModel, resolveSettings, type SdaModel } from '../../src/index.js';
import { summaryOf } from '../support/answers.js';
import { checkpointDir } from '../support/checkpoints.js';

let model: SdaModel;
beforeAll(async () => {
  model = await loadModel(checkpointDir('tiny-llama'), { dtype: 'float32' });
});
afterAll(() => model.dispose());

const beforeForward = async () => {};

describe('the composed loop', () => {
  const BASE = [5, 9, 2, 40];
  const INSTRUCTED = [5, 9, 2, 77, 31, 8];

  it.each([
    ['one forward for both streams', [[BASE, INSTRUCTED]] as const],
    ['a forward for each stream', [[BASE], [INSTRUCTED]] as const],
  ])('with %s draws the tokens of the product', async (_, passes) => {
    const settings = resolveSettings({ t0: 1.2 });
    const answer = model.generate({
      prompts: { baseIds: BASE, instructedIds: INSTRUCTED },
      settings,
      maxTokens: 12,
      seed: 3,
      ignoreEos: true,
    });
    const { tokenIds } = await summaryOf(answer);
    const before = memory().numTensors;
    const loop = { settings, seed: 3, tokens: 12, beforeForward };
    const run = await composedLoop(model.decoder, passes, loop);
    expect(run.tokenIds).toEqual(tokenIds);
    expect(new Set(run.tokenIds).size).toBeGreaterThan(3);
    expect(run.phases).toHaveLength(11);
    expect(memory().numTensors).toBe(before);
  });
});

describe('the prompts', () => {
  it('of a folder without a tokenizer are ids of the asked length that share a prefix', async () => {
    const prompts = await benchPrompts(model, 20);
    expect(prompts.source).toBe('ids');
    expect(prompts.instructedIds).toHaveLength(20);
    expect(prompts.baseIds).toEqual(prompts.instructedIds.slice(0, 10));
    expect(prompts.sharedTokens).toBe(9); // one token of each is left to run
    expect(Math.max(...prompts.instructedIds)).toBeLessThan(model.config.vocabSize);
  });
});

describe('benchDecoding', () => {
  it('gives one sample a round, and frees what it made', async () => {
    const before = memory().numTensors;
    const progress: [number, number][] = [];
    const report = await benchDecoding(model, {
      prompts: await benchPrompts(model, 12),
      tokens: 4,
      repeats: 3,
      greedy: true,
      probeBytes: 2 ** 20,
      onProgress: (done, total) => progress.push([done, total]),
    });
    for (const { stepMs, prefillMs, tokensPerSecond } of Object.values(report.variants)) {
      for (const summary of [stepMs, prefillMs, tokensPerSecond]) {
        expect(summary.samples).toHaveLength(3);
        expect(summary.p20).toBeGreaterThan(0);
      }
      stepMs.samples.forEach((ms, round) => {
        expect(tokensPerSecond.samples[round]).toBeCloseTo(1000 / ms, 9);
      });
    }
    expect(report.phases.forward.samples).toHaveLength(3 * 3);
    expect(report.agreement).toEqual({ composed: 4, sequential: 4 });
    expect(report.prompts).toEqual({ base: 6, instructed: 12, shared: 5, source: 'ids' });
    const { sda, sequential } = report.variants;
    expect(sequential.bytesPerStep - sda.bytesPerStep).toBe(report.memory.weightBytes);
    const rate = report.memory.bandwidth[report.memory.probe]!.median;
    expect(sda.limitMs).toBeCloseTo((sda.bytesPerStep / rate) * 1000, 9);
    expect(sda.limitShare).toBeCloseTo(sda.limitMs / sda.stepMs.median, 9);
    expect(progress[0]).toEqual([0, 16]);
    expect(progress.at(-1)).toEqual([15, 16]);
    expect(memory().numTensors).toBe(before);
  });

  it('stops when it is told to, and frees what it made', async () => {
    const before = memory().numTensors;
    const controller = new AbortController();
    const running = benchDecoding(model, {
      prompts: await benchPrompts(model, 12),
      tokens: 4,
      repeats: 3,
      greedy: false,
      probeBytes: 2 ** 20,
      signal: controller.signal,
      onProgress: (done) => done === 6 && controller.abort(),
    });
    await expect(running).rejects.toMatchObject({ code: 'aborted' });
    expect(memory().numTensors).toBe(before);
  });
});
