import type { Tensor2D } from '@tensorflow/tfjs-core';
import { describe, expect, test } from 'vitest';
import {
  type GenerateRequest,
  loadModel,
  resolveSettings,
  type SdaModel,
  type SdaStep,
  sdaRule,
} from '../../src/index.js';
import { readAll } from '../support/answers.js';
import { copyOf } from '../support/folders.js';
import { useTensorFlow } from '../support/tensorflow.js';
import { addTokenizer, TINY_TEMPLATE } from '../support/tiny-tokenizer.js';
import { TOLERANCE } from '../support/tolerances.js';

useTensorFlow();

const END = 2;
const idOf = (character: string) => character.charCodeAt(0) - 32 + 6;

/** A rule that writes a text, whatever the logits, and then ends. */
function writes(text: string): SdaStep {
  const ids = [...[...text].map(idOf), END];
  let step = 0;
  return async (_, { settings }) => {
    const id = ids[step++]!;
    const fields = { js: 0, temperature: 1, logpBase: 0, logpInstructed: 0, logp: 0 };
    return settings.map(() => ({ id, ...fields }));
  };
}

function answer(model: SdaModel, request: GenerateRequest) {
  return readAll(model.generate({ query: 'Hi', maxTokens: 100, ...request }));
}

async function modelWith(template: string): Promise<SdaModel> {
  const dir = copyOf('tiny-llama-tied');
  addTokenizer(dir, template);
  return loadModel(dir);
}

describe('thinking and answer', () => {
  test.each([
    ['no thinking', '', 'Yes </b>', [], '', 'Yes </b>', true],
    ['both tags', '', '<think>hm</think> Yes', [], 'hm', 'Yes', true],
    ['opened by the template', '<think>', 'hm</think>Yes', [], 'hm', 'Yes', true],
    ['unfinished', '', '<think>hm', [], 'hm', '', false],
    ['unfinished, opened by the template', '<think>', 'hm', [], 'hm', '', false],
    ['cut inside the thinking', '', '<think>hm</think>Yes', ['m<'], 'h', '', false],
    ['cut in the answer', '', '<think>hm</think>Yes, but', [','], 'hm', 'Yes', true],
    ['the tag as a subject', '', 'Write <think> first', [], '', 'Write <think> first', true],
    ['an end that could be a tag', '', '<think>hm</think>a <thi', [], 'hm', 'a <thi', true],
  ])('%s', async (_, opening, written, stop, thinking, said, finished) => {
    const model = await modelWith(`${TINY_TEMPLATE}${opening}`);
    const { steps, summary } = await answer(model, { rule: writes(written), stop });
    model.dispose();
    expect(summary).toMatchObject({ thinking, answer: said, answerFinished: finished });
    const parts = steps.flatMap((step) => step.parts);
    expect(steps.map(({ text }) => text).join('')).toBe(summary.text);
    expect(parts.map(({ text }) => text).join('')).toBe(summary.text);
    const answers = parts.filter(({ part }) => part === 'answer');
    expect(answers.map(({ text }) => text).join('')).toBe(said);
    expect(summary.finishReason).toBe('stop');
  });
});

describe('what a template is asked', () => {
  const dated = `{{ strftime_now('%Y-%m-%d') }}${TINY_TEMPLATE}`;

  test('the day and the variables reach both prompts, and the settings say them', async () => {
    const model = await modelWith(`{% if brief %}-{% endif %}${dated}`);
    const request = { rule: writes(''), date: new Date(2024, 1, 3) };
    const { summary } = await answer(model, request);
    expect(summary.settings.date).toBe('2024-02-03');
    expect(summary.settings).not.toHaveProperty('templateVariables');
    const templateVariables = { brief: true };
    const brief = (await answer(model, { ...request, rule: writes(''), templateVariables }))
      .summary;
    expect(brief.settings.templateVariables).toEqual({ brief: true });
    expect(brief.promptTokens.base).toBe(summary.promptTokens.base + 1);
    expect(brief.promptTokens.instructed).toBe(summary.promptTokens.instructed + 1);
    const today = (await answer(model, { rule: writes('') })).summary.settings.date;
    expect(Math.abs(Date.parse(`${today}T12:00:00`) - Date.now())).toBeLessThan(36 * 3600e3);
    model.dispose();
  });

  test('a day that no template asks for is no setting', async () => {
    const model = await modelWith(TINY_TEMPLATE);
    const { summary } = await answer(model, { rule: writes(''), date: new Date(2024, 1, 3) });
    expect(summary.settings).not.toHaveProperty('date');
    model.dispose();
  });

  test('an unknown variable is an error that names it', async () => {
    const model = await modelWith(TINY_TEMPLATE);
    const request = { rule: writes(''), templateVariables: { enable_thinking: false } };
    await expect(answer(model, request)).rejects.toMatchObject({
      code: 'bad-input',
      message: expect.stringContaining('no variable "enable_thinking"'),
    });
    model.dispose();
  });
});

/** JS of two rows of logits over the first `count` ids, in float64. */
function divergence(rows: readonly (readonly number[])[], count: number): number {
  const [p, q] = rows.map((row) => {
    const weights = row.slice(0, count).map((logit) => Math.exp(logit - Math.max(...row)));
    const sum = weights.reduce((a, b) => a + b);
    return weights.map((weight) => weight / sum);
  }) as [number[], number[]];
  const kl = (a: number[], m: number[]) =>
    a.reduce((sum, x, i) => sum + x * Math.log(x / m[i]!), 0);
  const middle = p.map((x, i) => (x + q[i]!) / 2);
  return (kl(p, middle) + kl(q, middle)) / 2;
}

test('rows of logits that no token has are masked before the step: they have no part in JS', async () => {
  const dir = copyOf('tiny-llama'); // 131 rows, of which the tokenizer names 101
  addTokenizer(dir, TINY_TEMPLATE);
  const model = await loadModel(dir);
  const { baseIds, instructedIds } = { baseIds: [7, 8, 9], instructedIds: [7, 8, 30, 31] };
  const plain = [await model.logits(baseIds), await model.logits(instructedIds)].map((row) => [
    ...row,
  ]);
  const seen: number[][][] = [];
  const rule = sdaRule(resolveSettings({ greedy: true }));
  const { steps } = await answer(model, {
    prompts: { baseIds, instructedIds },
    maxTokens: 8,
    ignoreEos: true,
    rule: async (logits: Tensor2D, draws) => {
      seen.push((await logits.array()) as number[][]);
      return rule(logits, draws);
    },
  });
  for (const rows of seen) {
    for (const row of rows) {
      expect(row.slice(101).every((logit) => logit === Number.NEGATIVE_INFINITY)).toBe(true);
      expect(row.slice(0, 101).every(Number.isFinite)).toBe(true);
    }
  }
  expect(steps.every(({ id }) => id < 101)).toBe(true);
  const [masked, all] = [divergence(plain, 101), divergence(plain, 131)];
  expect(Math.abs(masked - all)).toBeGreaterThan(10 * TOLERANCE.goldenJs);
  expect(Math.abs(steps[0]!.js - masked)).toBeLessThan(TOLERANCE.goldenJs);
  model.dispose();
});
