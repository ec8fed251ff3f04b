import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import {
  createEvaluator,
  createJudge,
  evaluatorSchema,
  judgeSchema,
  parseSpec,
} from '../../src/evaluate/create.js';
import { OpenAiEvaluator } from '../../src/evaluate/openai.js';
import { temporaryFolder } from '../support/folders.js';
import { errorOf } from '../support/tensorflow.js';

const INPUT = { query: 'Q', response: 'R', core: 'helpfulness' } as const;
const SERVER = 'http://127.0.0.1:9/v1';

const evaluator = (value: unknown) => parseSpec(evaluatorSchema, value, 'evaluator');
const judge = (value: unknown) => parseSpec(judgeSchema, value, 'judge');

/** Every option of a server's model, as in a configuration file. */
const CHAT = {
  kind: 'openai',
  base_url: SERVER,
  model: 'm',
  structured: false,
  temperature: 0,
  max_tokens: 50,
  max_retries: 1,
  timeout_s: 1.5,
  concurrency: 2,
  reasks: 0,
  prices: { m: { input: 2, output: 8 } },
  cost_cap: 0.5,
  cache_dir: 'cache',
};
const SETTINGS = {
  endpoint: SERVER,
  model: 'm',
  structured: false,
  parameters: { temperature: 0, max_tokens: 50 },
  maxRetries: 1,
  timeoutMs: 1500,
  concurrency: 2,
  reasks: 0,
  price: { input: 2, output: 8 },
  costCap: 0.5,
  cacheDir: 'cache',
};

describe('createEvaluator', () => {
  test('hands every option of a server on', async () => {
    const made = (await createEvaluator(evaluator({ ...CHAT, rubric: 'Own.' }))) as OpenAiEvaluator;
    expect(made).toBeInstanceOf(OpenAiEvaluator);
    expect(made.chat.settings).toMatchObject(SETTINGS);
    const other = { kind: 'openai', base_url: SERVER, max_completion_tokens: 9 };
    const second = (await createEvaluator(evaluator(other))) as OpenAiEvaluator;
    expect(second.chat.settings.parameters).toEqual({ max_completion_tokens: 9 });
  });

  test('makes a fixed one and one of a file', async () => {
    const file = join(temporaryFolder(), 'scores.jsonl');
    writeFileSync(file, '{"query": "Q", "score": 12.5}\n');
    for (const [spec, score] of [
      [{ kind: 'fixed', score: 70 }, 70],
      [{ kind: 'file', path: file }, 12.5],
    ] as const) {
      const made = await createEvaluator(evaluator(spec));
      expect(made.name).toBe(spec.kind);
      expect(await made.score(INPUT)).toMatchObject({ status: 'scored', score });
    }
  });

  test('asks for a model where the model itself is the evaluator', async () => {
    expect(await errorOf(() => createEvaluator(evaluator({ kind: 'intrinsic' })))).toMatchObject({
      code: 'bad-input',
      message: expect.stringContaining('model'),
    });
  });
});

test('createJudge hands every option on', async () => {
  const made = await createJudge(judge({ ...CHAT, seed: 3, rubric: 'Own.' }));
  expect(made.chat.settings).toMatchObject(SETTINGS);
});

describe('what is no evaluator or judge is told by its field', () => {
  test.each([
    [
      { ...CHAT, bass_url: 'x' },
      /unknown key bass_url \(known for openai: kind, base_url, model, /,
    ],
    [{ kind: 'fixed', score: 1, a: 1, b: 2 }, /unknown keys a, b \(known for fixed: kind, score\)/],
    [{ kind: 'intrinsic', model: 'x' }, /unknown key model \(known for intrinsic: kind, scale\)/],
    [{ kind: 'gpt' }, /evaluator.*: must have a kind: openai, intrinsic, fixed or file/],
    [{ score: 1 }, /must have a kind/],
    [{ kind: 'fixed', score: 101 }, /evaluator\.score: /],
    [{ kind: 'fixed' }, /evaluator\.score: /],
    [{ kind: 'file', path: ' ' }, /evaluator\.path: must not be empty/],
    [{ kind: 'intrinsic', scale: 0 }, /evaluator\.scale: /],
    [{ ...CHAT, temperature: 3 }, /evaluator\.temperature: /],
    [{ ...CHAT, concurrency: 0 }, /evaluator\.concurrency: /],
    [{ ...CHAT, max_tokens: 1.5 }, /evaluator\.max_tokens: /],
    [{ ...CHAT, timeout_s: 0 }, /evaluator\.timeout_s: /],
    [{ ...CHAT, prices: { m: { input: 1 } } }, /evaluator\.prices\.m\.output: /],
    [{ ...CHAT, model: null, reasks: 'x' }, /evaluator\.model: .*; evaluator\.reasks: /],
    [null, /evaluator: /],
    ['openai', /evaluator: /],
  ])('%j', async (value, message) => {
    expect(await errorOf(() => evaluator(value))).toMatchObject({
      code: 'bad-input',
      message: expect.stringMatching(message),
    });
  });

  test('a judge has a seed, an evaluator has none', async () => {
    expect(judge({ kind: 'openai', seed: 4 })).toEqual({ kind: 'openai', seed: 4 });
    expect(await errorOf(() => evaluator({ kind: 'openai', seed: 4 }))).toMatchObject({
      message: expect.stringContaining('unknown key seed'),
    });
    expect(await errorOf(() => judge({ kind: 'fixed', score: 4 }))).toMatchObject({
      message: expect.stringContaining('judge.kind: must have a kind: openai'),
    });
  });

  test.each([
    [{ ...CHAT, api_key: 'sk-secret-1' }],
    [{ ...CHAT, apiKey: 'sk-secret-1' }],
    [{ ...CHAT, api_key_env: 'sk-secret-1' }],
  ])('a key is refused with the environment as its place, and not repeated', async (value) => {
    for (const parse of [evaluator, judge]) {
      const error = await errorOf(() => parse(value));
      expect(error).toMatchObject({ code: 'bad-input' });
      expect(error.message).toMatch(/environment variable/);
      expect(error.message).not.toContain('secret');
    }
  });

  test('two limits of tokens', async () => {
    const both = { kind: 'openai', max_tokens: 5, max_completion_tokens: 5 };
    const error = await errorOf(() => createEvaluator(evaluator({ ...both, base_url: SERVER })));
    expect(error).toMatchObject({ code: 'bad-input' });
  });
});
