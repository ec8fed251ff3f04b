import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  type GenerateRequest,
  loadModel,
  openEngine,
  SdaModel,
  sdaSeveral,
} from '../../src/index.js';
import { type MemoryPlan, planMemory } from '../../src/model/memory-plan.js';
import { summaryOf } from '../support/answers.js';
import { checkpointDir, golden } from '../support/checkpoints.js';
import { errorOf, expectNoLeak, useTensorFlow } from '../support/tensorflow.js';

useTensorFlow();

const { sda } = golden('tiny-llama');
const prompts = { baseIds: sda.base, instructedIds: sda.instructed };

let model: SdaModel;
let plan: MemoryPlan;
beforeAll(async () => {
  model = await loadModel(checkpointDir('tiny-llama'), {
    onPlan: (made) => {
      plan = made;
    },
  });
});
afterAll(() => model.dispose());

describe('openEngine', () => {
  test('decodes as generate does, several answers of one request too', async () => {
    await expectNoLeak(async () => {
      const engine = await openEngine(model, { places: 2 });
      const request: GenerateRequest = { prompts, maxTokens: 20, settings: { t0: 1.2, sigma: 1 } };
      const answers = await engine.answers(request, [1, 2, 3]);
      const found = await Promise.all(answers.map(summaryOf));
      for (const [index, { tokenIds, finishReason }] of found.entries()) {
        const alone = await summaryOf(model.generate({ ...request, seed: index + 1 }));
        expect([tokenIds, finishReason]).toEqual([alone.tokenIds, alone.finishReason]);
      }
      expect(engine.load).toEqual({ waiting: 0, running: 0 });
      await engine.close();
    });
  });

  test('an answer ends with its signal, and where its context is full', async () => {
    const engine = await openEngine(model, { places: 1, context: sda.instructed.length + 5 });
    const stop = new AbortController();
    const answer = engine.generate({
      prompts,
      maxTokens: 50,
      signal: stop.signal,
      ignoreEos: true,
    });
    await answer.next();
    stop.abort();
    expect((await summaryOf(answer)).finishReason).toBe('aborted');
    const full = await summaryOf(engine.generate({ prompts, maxTokens: 50, ignoreEos: true }));
    expect([full.finishReason, full.tokenIds.length]).toEqual(['context', 5]);
    const given = sda.instructed.length + 5;
    const ids = Array.from({ length: given + 1 }, (_, i) => i % 60);
    expect((await engine.given(ids.slice(0, given))).logps).toHaveLength(given);
    expect(await errorOf(() => engine.given(ids))).toMatchObject({ code: 'context-exceeded' });
    await engine.close();
  });

  test('refuses what it has no room for, with nothing left behind', async () => {
    await expectNoLeak(async () => {
      expect(await errorOf(() => openEngine(model, { places: 0 }))).toMatchObject({
        message: 'places must be a whole number of at least 1, but is 0.',
      });
      expect(await errorOf(() => openEngine(model, { context: 1e6 }))).toMatchObject({
        message: expect.stringMatching(
          /^context must be a whole number in 2\.\.\d+, but is 1000000\.$/,
        ),
      });
      const { weights, available, device } = plan;
      const needs = { weights, available, device, context: 64 };
      const tight = new SdaModel(
        model.dir,
        model.decoder,
        {},
        {
          ...plan,
          available: planMemory(model.config, { ...needs, batch: 2 }).total,
        },
      );
      await (await openEngine(tight, { places: 2, context: 64 })).close();
      expect(await errorOf(() => openEngine(tight, { places: 3, context: 64 }))).toMatchObject({
        code: 'out-of-memory',
        message: expect.stringMatching(/^A batch of 3 with .*\(6 streams of 64 tokens\)/),
      });
      const engine = await openEngine(model, { places: 1 });
      const rule = sdaSeveral(['warm', 'brief']);
      const ids = [5, 6];
      const streams = { base: { ids }, all: { ids }, warm: { ids }, brief: { ids } };
      expect(await errorOf(() => engine.answers({ rule, streams }, [1]))).toMatchObject({
        code: 'bad-input',
        message:
          'The rule sda-several has 4 streams, but the engine has room for 2: give it more places.',
      });
      await engine.close();
      expect(await errorOf(() => engine.answers({ prompts }, [1]))).toMatchObject({ code: 'busy' });
    });
  });
});

describe('the best of several answers', () => {
  const request: GenerateRequest = { prompts, maxTokens: 12, settings: { t0: 1.5, sigma: 1 } };
  const seeds = [1, 2, 3, 4, 5];

  /** Each answer alone: its tokens and their mean log-probability. */
  async function alone(seed: number) {
    const logps: number[] = [];
    const tokenIds: number[] = [];
    for await (const { logp, id } of model.generate({ ...request, seed })) {
      logps.push(logp);
      tokenIds.push(id);
    }
    return { tokenIds, mean: logps.reduce((sum, logp) => sum + logp) / logps.length };
  }

  test('are those with the largest mean log-probability, in order', async () => {
    const expected: Awaited<ReturnType<typeof alone>>[] = [];
    for (const seed of seeds) expected.push(await alone(seed));
    expected.sort((a, b) => b.mean - a.mean);
    await expectNoLeak(async () => {
      const engine = await openEngine(model, { places: 2 });
      const found = await engine.best(request, seeds, 3);
      expect(found.map(({ summary }) => summary.tokenIds)).toEqual(
        expected.slice(0, 3).map(({ tokenIds }) => tokenIds),
      );
      found.forEach(({ meanLogp }, i) => {
        expect(meanLogp).toBeCloseTo(expected[i]!.mean, 5);
      });
      const [one, ...none] = await engine.best(request, seeds);
      expect([one!.summary.tokenIds, none]).toEqual([expected[0]!.tokenIds, []]);
      await engine.close();
    });
  });

  test.each([0, 1.5, 6])('cannot be %d of 5, and nothing goes on', async (keep) => {
    const engine = await openEngine(model, { places: 2 });
    expect(await errorOf(() => engine.best(request, seeds, keep))).toMatchObject({
      code: 'bad-input',
      message: `Of 5 answers the best 1..5 can be kept, but ${keep} are asked for.`,
    });
    await engine.close();
  });
});

describe('beams', () => {
  const base = { prompts };

  test('one is the greedy text; of more, the best is at least as likely', async () => {
    await expectNoLeak(async () => {
      const engine = await openEngine(model, { places: 4 });
      const asked = { ...base, maxTokens: 10, ignoreEos: true };
      const [one, ...others] = await engine.beams({ ...asked, beams: 1 });
      const greedy = await summaryOf(
        model.generate({ ...asked, singleStream: true, settings: { mode: 'base', greedy: true } }),
      );
      expect(others).toEqual([]);
      expect(one).toMatchObject({ tokenIds: greedy.tokenIds, finishReason: 'length' });
      const four = await engine.beams({ ...asked, beams: 4 });
      expect(four).toHaveLength(4);
      expect(four[0]!.logp).toBeGreaterThanOrEqual(one!.logp);
      for (const { tokenIds, logp, score } of four) {
        const { logps } = await engine.given([...sda.base, ...tokenIds]);
        const sum = logps.slice(sda.base.length).reduce<number>((total, each) => total + each!, 0);
        expect(logp).toBeCloseTo(sum, 4);
        expect(score).toBeCloseTo(logp / tokenIds.length, 8);
      }
      await engine.close();
    });
  });

  test('end with the context, and are refused where they cannot be', async () => {
    const engine = await openEngine(model, { places: 2, context: sda.base.length + 3 });
    const found = await engine.beams({ ...base, beams: 2, maxTokens: 50, ignoreEos: true });
    for (const { tokenIds } of found) expect(tokenIds).toHaveLength(3);
    expect(await errorOf(() => engine.beams({ ...base, beams: 3 }))).toMatchObject({
      message: 'beams must be a whole number in 1..2, the places of the engine, but is 3.',
    });
    const long = { prompts: { ...prompts, baseIds: [...sda.base, 1, 2, 3] } };
    expect(await errorOf(() => engine.beams({ ...long, beams: 2 }))).toMatchObject({
      code: 'context-exceeded',
    });
    expect(
      await errorOf(() => engine.beams({ ...base, beams: 2, lengthPenalty: Number.NaN })),
    ).toMatchObject({ message: 'lengthPenalty must be a finite number, but is NaN.' });
    await engine.close();
  });
});

describe('messages', () => {
  test.each<[Partial<GenerateRequest>, RegExp]>([
    [{ messages: [] }, /hold no turn/],
    [{ messages: [{ role: 'assistant', content: 'a' }] }, /the last one has the role assistant/],
    [{ query: 'q', messages: [{ role: 'user', content: 'a' }] }, /are given beside a query/],
    [
      {
        system: 's',
        messages: [
          { role: 'system', content: 't' },
          { role: 'user', content: 'a' },
        ],
      },
      /begin with a system line/,
    ],
    [
      {
        messages: [
          { role: 'user', content: 'a' },
          { role: 'system', content: 't' },
          { role: 'user', content: 'b' },
        ],
      },
      /have a system line behind their first turn/,
    ],
  ])('refuses %j', async (request, message) => {
    const error = await errorOf(() => model.generate(request).next());
    expect(error).toMatchObject({ code: 'bad-input', message: expect.stringMatching(message) });
  });
});
