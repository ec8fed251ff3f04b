import { tensor1d } from '@tensorflow/tfjs-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  INTRINSIC_SCALE,
  intrinsicScore,
  LEAST_INTRINSIC,
  scoreTokens,
} from '../../src/evaluate/intrinsic.js';
import { loadModel, type SdaModel } from '../../src/index.js';
import { amplify } from '../../src/method/amplification.js';
import { CHECKPOINTS, checkpointDir, golden } from '../support/checkpoints.js';
import { expectNear } from '../support/close.js';
import { errorOf, expectNoLeak, useTensorFlow } from '../support/tensorflow.js';
import { TOLERANCE } from '../support/tolerances.js';

useTensorFlow();

/** log-softmax in float64, written without any of the code under test */
function logSoftmax(logits: ArrayLike<number>, id: number): number {
  const values = Array.from(logits);
  const largest = Math.max(...values);
  return (
    values[id]! - largest - Math.log(values.reduce((sum, x) => sum + Math.exp(x - largest), 0))
  );
}

describe('intrinsicScore', () => {
  const answer = [-1, -2, -3];
  const shifted = (by: number) => answer.map((logp) => logp + by);

  test('is 50 where the instruction changes nothing, and a sigmoid of the mean difference', () => {
    expect(intrinsicScore(answer, answer)).toBe(50);
    expect(intrinsicScore(shifted(-INTRINSIC_SCALE), answer)).toBeCloseTo(
      100 / (1 + Math.exp(-1)),
      10,
    );
    expect(intrinsicScore(answer, shifted(-INTRINSIC_SCALE))).toBeCloseTo(
      100 / (1 + Math.exp(1)),
      10,
    );
    expect(intrinsicScore([-1, -5], [-2, -4])).toBe(50); // +1 and -1
    expect(intrinsicScore(shifted(-2), answer, 2)).toBeCloseTo(100 / (1 + Math.exp(-1)), 10);
  });

  test('rises with the difference, not with the length', () => {
    const scores = [-40, -2, -0.5, 0, 0.5, 0.9].map((by) => intrinsicScore(answer, shifted(by)));
    expect(scores).toEqual([...scores].sort((a, b) => a - b));
    const twice = intrinsicScore([...answer, ...answer], [...shifted(-0.5), ...shifted(-0.5)]);
    expect(twice).toBeCloseTo(intrinsicScore(answer, shifted(-0.5)), 10);
  });

  test('stays within what F takes, also where a token is impossible', () => {
    const never = [Number.NEGATIVE_INFINITY];
    for (const [base, instructed] of [
      [never, [0]],
      [[0], never],
      [never, never],
      [[0], [-1e9]],
    ] as const) {
      const score = intrinsicScore(base, instructed);
      expect(score).toBeGreaterThanOrEqual(LEAST_INTRINSIC);
      expect(score).toBeLessThanOrEqual(100);
      expect(amplify(score, 'inverse')).toBeLessThanOrEqual(100);
    }
    expect(intrinsicScore(never, never)).toBe(50);
    // one such token does not outweigh the rest
    const long = Array<number>(1000).fill(-1);
    expect(intrinsicScore([-1, ...long], [Number.NEGATIVE_INFINITY, ...long])).toBeGreaterThan(45);
  });

  test.each([
    [[], [], 'bad-input'],
    [[-1], [-1, -2], 'bad-input'],
    [[], [-1], 'bad-input'],
    [[Number.NaN], [-1], 'bad-logits'],
    [[-1], [0.5], 'bad-logits'],
    [[-1], [Number.POSITIVE_INFINITY], 'bad-logits'],
  ])('%j and %j are refused', async (base, instructed, code) => {
    expect(await errorOf(() => intrinsicScore(base, instructed))).toMatchObject({ code });
  });

  test.each([0, -1, Number.NaN, Number.POSITIVE_INFINITY])(
    'a scale of %d is refused',
    async (scale) => {
      expect(await errorOf(() => intrinsicScore([-1], [-1], scale))).toMatchObject({
        code: 'bad-input',
      });
    },
  );
});

describe.each(CHECKPOINTS)('scoreTokens of %s', (name) => {
  const { forced } = golden(name);
  const prompts = { baseIds: forced.rows[0]!.prompt, instructedIds: forced.rows[1]!.prompt };
  let model: SdaModel;
  beforeAll(async () => {
    model = await loadModel(checkpointDir(name));
  });
  afterAll(() => model.dispose());

  test("gives the log-probabilities of transformers' logits", async () => {
    const scores = await expectNoLeak(() => scoreTokens(model, prompts, forced.ids));
    [scores.logpBase, scores.logpInstructed].forEach((row, stream) => {
      expect(row).toHaveLength(forced.ids.length);
      forced.ids.forEach((id, i) => {
        const expected = logSoftmax(forced.rows[stream]!.logits[i]!, id);
        expectNear(row[i]!, expected, TOLERANCE.goldenLogProb);
      });
    });
  });

  test('agrees with logits taken token by token, over more than one chunk, and does not touch the model', async () => {
    const { vocabSize } = model.config;
    const room = Math.min(70, model.maxContext - prompts.instructedIds.length);
    const answer = Array.from({ length: room }, (_, i) => (7 * i + 3) % vocabSize);
    const scores = await scoreTokens(model, prompts, answer);
    for (const [row, prompt] of [
      [scores.logpBase, prompts.baseIds],
      [scores.logpInstructed, prompts.instructedIds],
    ] as const) {
      for (let i = 0; i < answer.length; i++) {
        const logits = await model.logits([...prompt, ...answer.slice(0, i)]);
        expectNear(row[i]!, logSoftmax(logits, answer[i]!), TOLERANCE.goldenLogProb);
      }
    }
    expect(await scoreTokens(model, prompts, answer)).toEqual(scores);
  });

  test('leaves out the ids that a bias forbids, from the first token on', async () => {
    const { vocabSize } = model.config;
    const forbidden = forced.ids.includes(5) ? 6 : 5;
    const values = Array.from({ length: vocabSize }, (_, id) =>
      id === forbidden ? Number.NEGATIVE_INFINITY : 0,
    );
    const logitBias = tensor1d(values);
    const scores = await scoreTokens(model, prompts, forced.ids, { logitBias });
    const impossible = await scoreTokens(model, prompts, [forbidden, forbidden], { logitBias });
    logitBias.dispose();
    forced.ids.forEach((id, i) => {
      const logits = forced.rows[0]!.logits[i]!.map((logit, token) => logit + values[token]!);
      expectNear(scores.logpBase[i]!, logSoftmax(logits, id), TOLERANCE.goldenLogProb);
    });
    expect([...impossible.logpBase]).toEqual([Number.NEGATIVE_INFINITY, Number.NEGATIVE_INFINITY]);
  });

  test('takes an answer of one token, and equal prompts', async () => {
    const same = { baseIds: prompts.baseIds, instructedIds: prompts.baseIds };
    const { logpBase, logpInstructed } = await scoreTokens(model, same, [forced.ids[0]!]);
    const expected = logSoftmax(await model.logits(prompts.baseIds), forced.ids[0]!);
    expectNear(logpBase[0]!, expected, TOLERANCE.goldenLogProb);
    expect(Array.from(logpInstructed)).toEqual(Array.from(logpBase));
    expect(intrinsicScore(logpBase, logpInstructed)).toBe(50);
  });

  test.each([
    ['an empty answer', prompts, [], 'bad-input'],
    ['an id outside the vocabulary', prompts, [100_000], 'bad-input'],
    ['an empty prompt', { ...prompts, baseIds: [] }, [1], 'bad-input'],
    ['more than the context holds', prompts, Array<number>(100_000).fill(1), 'context-exceeded'],
  ])('%s is refused, and nothing is left behind', async (_, given, answer, code) => {
    const error = await expectNoLeak(() => errorOf(() => scoreTokens(model, given, answer)));
    expect(error).toMatchObject({ code });
  });
});
