import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { memory } from '@tensorflow/tfjs-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type GenerateRequest, loadModel, SdaError, type SdaModel } from '../../src/index.js';
import { readAll, summaryOf } from '../support/answers.js';
import { checkpointDir, golden } from '../support/checkpoints.js';
import { errorOf, useTensorFlow } from '../support/tensorflow.js';
import { TOLERANCE } from '../support/tolerances.js';

useTensorFlow();

const DIR = checkpointDir('tiny-llama');
const { sda } = golden('tiny-llama');
const prompts = { baseIds: sda.base, instructedIds: sda.instructed };

let model: SdaModel;
beforeAll(async () => {
  model = await loadModel(DIR);
});
afterAll(() => model.dispose());

function answer(request: GenerateRequest, from: SdaModel = model) {
  return readAll(from.generate(request));
}

describe('generate', () => {
  test('gives the golden steps of SDA decoding, and a summary of them', async () => {
    const run = sda.runs['sigma_0.01']!;
    const settings = {
      greedy: true,
      amplification: sda.a,
      k: sda.k,
      t0: sda.t0,
      sigma: run.sigma,
      tMin: sda.tmin,
    };
    const { steps, summary } = await answer({ prompts, settings, maxTokens: 16, ignoreEos: true });
    expect(summary.tokenIds).toEqual(run.steps.map(({ id }) => id));
    expect(steps.map(({ id }) => id)).toEqual(summary.tokenIds);
    steps.forEach((step, i) => {
      const expected = run.steps[i]!;
      expect(step.step).toBe(i);
      expect(step.a).toBe(sda.a);
      const { js, logpBase, logpInstructed } = step;
      expect(Math.abs(js - expected.js)).toBeLessThan(TOLERANCE.goldenJs);
      expect(Math.abs(logpBase - expected.logp_base)).toBeLessThan(TOLERANCE.goldenLogProb);
      expect(Math.abs(logpInstructed - expected.logp_instructed)).toBeLessThan(
        TOLERANCE.goldenLogProb,
      );
    });
    expect(summary.finishReason).toBe('length');
    expect(summary.promptTokens).toEqual({
      base: sda.base.length,
      instructed: sda.instructed.length,
    });
    expect(summary.settings).toMatchObject({ ...settings, seed: 0, maxTokens: 16, mode: 'sda' });
    expect(summary.timing.tokensPerSecond).toBeGreaterThan(0);
    expect(summary.text).toBe(''); // the folder has no tokenizer
  });

  test('a seed fixes the tokens, alone and in a batch', async () => {
    const settings = { mode: 'instructed', t0: 2 } as const;
    const common = { prompts, settings, maxTokens: 12, ignoreEos: true };
    const requests = [3, 4, 5].map((seed) => ({ ...common, seed }));
    const alone = [];
    for (const request of requests) alone.push((await answer(request)).summary.tokenIds);
    const summaries = await summaryOf(model.generateBatch(requests));
    expect(summaries.map(({ tokenIds }) => tokenIds)).toEqual(alone);
    expect(new Set(alone.map(String)).size).toBe(3);
  });

  test('a single stream is the base model', async () => {
    const settings = { mode: 'base', greedy: true } as const;
    const both = await answer({ prompts, settings, maxTokens: 8 });
    const single = await answer({ prompts, settings, maxTokens: 8, singleStream: true });
    expect(single.summary.tokenIds).toEqual(both.summary.tokenIds);
    expect(single.steps.every(({ js }) => js === 0)).toBe(true);
  });

  test('an abort ends it with what was drawn, and nothing stays on the device', async () => {
    const before = memory().numTensors;
    const stop = new AbortController();
    const run = model.generate({ prompts, maxTokens: 100, ignoreEos: true, signal: stop.signal });
    await run.next();
    await run.next();
    stop.abort();
    const { steps, summary } = await readAll(run);
    expect(steps).toEqual([]);
    expect(summary.finishReason).toBe('aborted');
    expect(summary.tokenIds).toHaveLength(2);
    expect(memory().numTensors).toBe(before);
  });

  test.each([
    [{}, 'bad-input', /nothing to answer/],
    [{ prompts: { baseIds: [], instructedIds: [1] } }, 'bad-input', /base prompt has no token/],
    [{ prompts: { baseIds: [1], instructedIds: [131] } }, 'bad-input', /131.*0\.\.130/],
    [{ prompts: { baseIds: Array(128).fill(1), instructedIds: [1] } }, 'context-exceeded', /128/],
    [{ prompts, maxTokens: 0 }, 'bad-input', /maxTokens/],
    [{ prompts, seed: 0.5 }, 'bad-input', /seed/],
    [
      { prompts, settings: { topP: 2 } },
      'bad-input',
      /topP of the rule sda must be a number in 0\.\.1/,
    ],
    [{ prompts, stop: ['x'] }, 'file-missing', /tokenizer/],
  ] as [GenerateRequest, string, RegExp][])('refuses %j', async (request, code, message) => {
    const before = memory().numTensors;
    const error = await errorOf(() => answer(request));
    expect(error).toBeInstanceOf(SdaError);
    expect(error).toMatchObject({ code, message: expect.stringMatching(message) });
    expect(memory().numTensors).toBe(before);
  });
});

describe('damaged weights', () => {
  const folder = mkdtempSync(join(tmpdir(), 'sda-generate-'));
  afterAll(() => rmSync(folder, { recursive: true }));

  test.each([
    // row 7 of 48 columns: the logit of token 7
    ['lm_head.weight', 7 * 48, /token 7.*base stream.*finite after all 2 layers\.$/],
    ['model.layers.1.mlp.down_proj.weight', 5, /not finite from layer 1 of 0\.\.1 on\.$/],
    [
      'model.embed_tokens.weight',
      prompts.baseIds[0]! * 48,
      /not finite from layer 0 of 0\.\.1 on\.$/,
    ],
  ])(
    'a NaN in %s is named by step and place, and nothing stays on the device',
    async (name, at, where) => {
      cpSync(DIR, folder, { recursive: true });
      const file = join(folder, 'model.safetensors');
      const bytes = readFileSync(file);
      const length = Number(bytes.readBigUInt64LE(0));
      const header = JSON.parse(bytes.subarray(8, 8 + length).toString()) as Record<
        string,
        { data_offsets: [number, number] }
      >;
      const [begin] = header[name]!.data_offsets;
      bytes.writeFloatLE(Number.NaN, 8 + length + begin + at * 4);
      writeFileSync(file, bytes);
      const damaged = await loadModel(folder);
      const before = memory().numTensors;
      const error = await errorOf(() => answer({ prompts, maxTokens: 4 }, damaged));
      expect(error).toMatchObject({
        code: 'bad-logits',
        message: expect.stringMatching(/^At step 0, .*query 0/),
      });
      expect(error.message).toMatch(where);
      expect(memory().numTensors).toBe(before);
      damaged.dispose();
    },
  );
});
