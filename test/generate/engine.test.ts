import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  type GenerateRequest,
  loadModel,
  openEngine,
  SdaModel,
  sdaSeveral,
} from '../../src/index.js';
import { type MemoryPlan, planMemory } from '../../src/model/memory-plan.js';
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

async function textOf(
  answer: AsyncGenerator<unknown, { tokenIds: number[]; finishReason: string }>,
) {
  for (;;) {
    const { value, done } = await answer.next();
    if (done) return value;
  }
}

describe('openEngine', () => {
  test('decodes as generate does, several answers of one request too', async () => {
    await expectNoLeak(async () => {
      const engine = await openEngine(model, { places: 2 });
      const request: GenerateRequest = { prompts, maxTokens: 20, settings: { t0: 1.2, sigma: 1 } };
      const answers = await engine.answers(request, [1, 2, 3]);
      const found = await Promise.all(answers.map(textOf));
      for (const [index, { tokenIds, finishReason }] of found.entries()) {
        const alone = await textOf(model.generate({ ...request, seed: index + 1 }));
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
    expect((await textOf(answer)).finishReason).toBe('aborted');
    const full = await textOf(engine.generate({ prompts, maxTokens: 50, ignoreEos: true }));
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
