import { readFileSync } from 'node:fs';
import { describe, expect, onTestFinished, test } from 'vitest';
import {
  type IntrinsicOptions,
  intrinsicEvaluator,
} from '../../src/evaluate/intrinsic-evaluator.js';
import { loadModel, type SdaModel } from '../../src/index.js';
import { defaultModelDir } from '../../src/runtime/paths.js';
import { INSTRUCTIONS } from '../../src/text/instructions.js';
import { copyOf } from '../support/folders.js';
import { errorOf, expectNoLeak, useTensorFlow } from '../support/tensorflow.js';
import { addTokenizer, TINY_TEMPLATE } from '../support/tiny-tokenizer.js';
import { TOLERANCE } from '../support/tolerances.js';

useTensorFlow();

const END = 2;
/** The tokenizer's: one id a printable character, none for a line feed. */
const ids = (text: string) => [...text.replaceAll('\n', '')].map((c) => c.charCodeAt(0) - 26);
const [USER, BOT, SYSTEM] = [[3], [4], [5]];

const QUERY = 'Why?';
const INPUT = { query: QUERY, response: 'So it is.', core: 'empathy' } as const;
const IN_SYSTEM: IntrinsicOptions = { instruction: 'Be kind.', placement: 'system' };
const BASE = [...USER, ...ids(QUERY), ...BOT];
const INSTRUCTED = [...SYSTEM, ...ids('Be kind.'), ...BASE];

/** With ids that have no token, and 128 places; `tiny-llama-tied` has 512. */
async function tinyModel(
  template?: string,
  options: {
    name?: 'tiny-llama' | 'tiny-llama-tied';
    maxContext?: number;
    special?: readonly string[];
  } = {},
): Promise<SdaModel> {
  const { name = 'tiny-llama', maxContext, special } = options;
  const dir = copyOf(name);
  addTokenizer(dir, template, special);
  const model = await loadModel(dir, { maxContext });
  onTestFinished(() => model.dispose());
  return model;
}

/** Mean log-probability of `answer` behind `prompt` in float64, from logits taken token by token. */
async function meanLogProb(model: SdaModel, prompt: number[], answer: number[]): Promise<number> {
  const tokenizer = await model.tokenizer();
  let sum = 0;
  for (const [i, id] of answer.entries()) {
    const logits = await model.logits([...prompt, ...answer.slice(0, i)]);
    const known = Array.from(logits).filter((_, token) => tokenizer.hasToken(token));
    sum += logits[id]! - Math.log(known.reduce((total, logit) => total + Math.exp(logit), 0));
  }
  return sum / answer.length;
}

/** S by its definition. */
async function expectedScore(
  model: SdaModel,
  prompts: { base: number[]; instructed: number[] },
  answer: number[],
): Promise<number> {
  const base = await meanLogProb(model, prompts.base, answer);
  const instructed = await meanLogProb(model, prompts.instructed, answer);
  return 100 / (1 + Math.exp((base - instructed) / 0.5));
}

async function scoreOf(model: SdaModel, options: IntrinsicOptions, input: object = {}) {
  const scored = await intrinsicEvaluator(model, options).score({ ...INPUT, ...input });
  if (scored.status === 'failed') throw new Error(scored.reason);
  return scored.score;
}

describe('intrinsicEvaluator', () => {
  test('scores the text of a response behind both prompts, and says where the score is from', async () => {
    const model = await tinyModel(TINY_TEMPLATE);
    const evaluator = intrinsicEvaluator(model, IN_SYSTEM);
    await evaluator.score(INPUT); // makes what the model keeps
    const scored = await expectNoLeak(() => evaluator.score(INPUT));
    const prompts = { base: BASE, instructed: INSTRUCTED };
    expect(scored).toEqual({
      status: 'scored',
      score: expect.closeTo(await expectedScore(model, prompts, ids(INPUT.response)), 2),
      provenance: {
        evaluator: 'intrinsic',
        model: 'tiny-llama',
        cached: false,
        attempts: 0,
        rawAnswer: null,
        tokens: { input: 0, output: 0 },
        cost: 0,
      },
    });
    expect(await evaluator.score(INPUT)).toEqual(scored);
  });

  test("takes the core's instruction behind the query where none is given", async () => {
    const model = await tinyModel(TINY_TEMPLATE, { name: 'tiny-llama-tied' });
    const instructed = [...USER, ...ids(QUERY + INSTRUCTIONS.empathy), ...BOT];
    const expected = await expectedScore(model, { base: BASE, instructed }, ids(INPUT.response));
    expect(await scoreOf(model, {})).toBeCloseTo(expected, 2);
    expect(await scoreOf(model, {}, { core: 'truthful' })).not.toBeCloseTo(expected, 2);
  });

  test('scores what a special token is called as text, not as that token', async () => {
    const model = await tinyModel(TINY_TEMPLATE);
    const response = 'Say </s>.';
    const prompts = { base: BASE, instructed: INSTRUCTED };
    const expected = await expectedScore(model, prompts, ids(response));
    expect(await scoreOf(model, IN_SYSTEM, { response })).toBeCloseTo(expected, 2);
  });

  test('scores the tokens that were drawn where they are known', async () => {
    const model = await tinyModel(TINY_TEMPLATE);
    const responseIds = [...ids(INPUT.response), END];
    const prompts = { base: BASE, instructed: INSTRUCTED };
    const expected = await expectedScore(model, prompts, responseIds);
    expect(await scoreOf(model, IN_SYSTEM, { responseIds })).toBeCloseTo(expected, 2);
    expect(await scoreOf(model, IN_SYSTEM)).not.toBeCloseTo(expected, 2);
  });

  test.each([
    ['closes the thinking that the template opens', '<think>', '', '</think>'],
    ['continues it with what was thought', '<think>', 'Hm', 'Hm</think>'],
    ['opens it where the template does not', '', 'Hm', '<think>Hm</think>'],
  ])('thinking is context alone: %s', async (_, opening, thinking, between) => {
    const model = await tinyModel(TINY_TEMPLATE + opening);
    const before = ids(opening + between);
    const prompts = { base: [...BASE, ...before], instructed: [...INSTRUCTED, ...before] };
    const expected = await expectedScore(model, prompts, ids(INPUT.response));
    expect(await scoreOf(model, IN_SYSTEM, { thinking })).toBeCloseTo(expected, 2);
  });

  const [OPEN, CLOSE] = [[101], [102]];
  test.each<[string, string, string, number[]]>([
    ['opened', '', 'Hm', [...OPEN, ...ids('Hm'), ...CLOSE]],
    ['where the prompt has opened it', '[THINK]', 'Hm', [...OPEN, ...ids('Hm'), ...CLOSE]],
    ['where nothing was thought', '[THINK]', '', [...OPEN, ...CLOSE]],
    ['with a tag in it, as text', '', 'A [THINK]', [...OPEN, ...ids('A [THINK]'), ...CLOSE]],
  ])(
    "thinking has the model's own tags, as its special tokens: %s",
    async (_, opening, thinking, before) => {
      const special = ['[THINK]', '[/THINK]'];
      const model = await tinyModel(TINY_TEMPLATE + opening, { special });
      const prompts = { base: [...BASE, ...before], instructed: [...INSTRUCTED, ...before] };
      const expected = await expectedScore(model, prompts, ids(INPUT.response));
      expect(await scoreOf(model, IN_SYSTEM, { thinking })).toBeCloseTo(expected, 2);
    },
  );

  test('tags that are special tokens are those tokens in a family with <think> too', async () => {
    const model = await tinyModel(TINY_TEMPLATE, { special: ['<think>', '</think>'] });
    const before = [...OPEN, ...ids('Hm'), ...CLOSE];
    const prompts = { base: [...BASE, ...before], instructed: [...INSTRUCTED, ...before] };
    const expected = await expectedScore(model, prompts, ids(INPUT.response));
    expect(await scoreOf(model, IN_SYSTEM, { thinking: 'Hm' })).toBeCloseTo(expected, 2);
  });

  test.each([
    ['an empty response', { response: ' \n' }, 'no-answer', /empty/],
    ['a response of no tokens', { responseIds: [] }, 'no-answer', /empty/],
    ['a response that the context does not hold', { response: 'x'.repeat(600) }, 'unusable', /128/],
    ['an empty query', { query: '' }, 'unusable', /query is empty/],
    ['ids outside the vocabulary', { responseIds: [9999] }, 'unusable', /9999/],
  ])('%s is a failure of its own, and the next one is scored', async (_, input, kind, reason) => {
    const evaluator = intrinsicEvaluator(await tinyModel(TINY_TEMPLATE), IN_SYSTEM);
    expect(await evaluator.score({ ...INPUT, ...input })).toMatchObject({
      status: 'failed',
      kind,
      reason: expect.stringMatching(reason),
      provenance: { evaluator: 'intrinsic', model: 'tiny-llama' },
    });
    expect(await evaluator.score(INPUT)).toMatchObject({ status: 'scored' });
  });

  test('the last token that fits is scored, one more is not', async () => {
    const most = INSTRUCTED.length + INPUT.response.length;
    const evaluator = intrinsicEvaluator(
      await tinyModel(TINY_TEMPLATE, { maxContext: most }),
      IN_SYSTEM,
    );
    expect(await evaluator.score(INPUT)).toMatchObject({ status: 'scored' });
    const response = `${INPUT.response}!`;
    expect(await evaluator.score({ ...INPUT, response })).toMatchObject({ kind: 'unusable' });
  });

  test('an aborted signal is a failure', async () => {
    const evaluator = intrinsicEvaluator(await tinyModel(TINY_TEMPLATE), IN_SYSTEM);
    const scored = await evaluator.score(INPUT, { signal: AbortSignal.abort() });
    expect(scored).toMatchObject({ status: 'failed', kind: 'aborted' });
  });

  test('what would fail for every response is an error', async () => {
    const model = await tinyModel();
    expect(await errorOf(() => intrinsicEvaluator(model).score(INPUT))).toMatchObject({
      code: 'no-chat-template',
    });
    expect(await errorOf(() => intrinsicEvaluator(model, { scale: 0 }))).toMatchObject({
      code: 'bad-input',
    });
  });
});

test('the default model scores as transformers does with its tokenizer, template and weights', async () => {
  const url = new URL('../fixtures/intrinsic/default-model.json', import.meta.url);
  const cases = JSON.parse(readFileSync(url, 'utf8')) as readonly {
    query: string;
    response: string;
    instruction: string;
    ids: number[];
    score: number;
  }[];
  const model = await loadModel(defaultModelDir());
  onTestFinished(() => model.dispose());
  // the score has a slope of at most 100 / 4 / 0.5 = 50 a nat
  const tolerance = 50 * TOLERANCE.goldenLogProb;
  for (const { query, response, instruction, ids: responseIds, score } of cases) {
    const input = { query, response, core: 'helpfulness' };
    const byText = await scoreOf(model, { instruction }, input);
    expect(Math.abs(byText - score)).toBeLessThan(tolerance);
    expect((await model.tokenizer()).encode(response)).toEqual(responseIds);
  }
});
