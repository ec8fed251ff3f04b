import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  type GenerateRequest,
  type GenerateSummary,
  loadModel,
  SdaModel,
  type SdaSettings,
  type SdaStep,
} from '../../src/index.js';
import { type MemoryPlan, planMemory } from '../../src/model/memory-plan.js';
import { summaryOf } from '../support/answers.js';
import { checkpointDir, golden } from '../support/checkpoints.js';
import { errorOf, expectNoLeak, useTensorFlow } from '../support/tensorflow.js';

useTensorFlow();

const { sda } = golden('tiny-llama');
const prompts = { baseIds: sda.base, instructedIds: sda.instructed };

let model: SdaModel;
beforeAll(async () => {
  model = await loadModel(checkpointDir('tiny-llama'));
});
afterAll(() => model.dispose());

function summariesOf(requests: readonly GenerateRequest[]): Promise<GenerateSummary[]> {
  return summaryOf(model.generateBatch(requests));
}

/** A rule that draws an end-of-text token at its third call, whatever the logits. */
function endsAtThird(): SdaStep {
  let call = 0;
  return (_, { settings }) => {
    const id = ++call === 3 ? model.config.endings[0]!.id : 40;
    const fields = { js: 0, temperature: 1, logpBase: 0, logpInstructed: 0, logp: 0 };
    return settings.map(() => ({ id, ...fields }));
  };
}

describe('each request of a batch', () => {
  test.each([
    [false, true],
    [true, false],
    [undefined, true],
  ])('ends at an end-of-text token, or not, as it says: %s and %s', async (...ignoring) => {
    const rule = endsAtThird();
    const summaries = await summariesOf(
      ignoring.map((ignoreEos) => ({ prompts, maxTokens: 5, rule, ignoreEos })),
    );
    expect(summaries.map(({ tokenIds, finishReason }) => [tokenIds.length, finishReason])).toEqual(
      ignoring.map((ignored) => (ignored ? [5, 'length'] : [3, 'stop'])),
    );
  });

  test('has a rule and a signal that are those of all, or it is refused', async () => {
    const same = { rule: endsAtThird(), signal: new AbortController().signal };
    expect(await summariesOf([0, 1].map(() => ({ prompts, maxTokens: 4, ...same })))).toHaveLength(
      2,
    );
    const others: [Partial<GenerateRequest>, Partial<GenerateRequest>, 'rule' | 'signal'][] = [
      [same, { ...same, rule: endsAtThird() }, 'rule'],
      [{}, { rule: endsAtThird() }, 'rule'],
      [{ rule: endsAtThird() }, {}, 'rule'],
      [same, { ...same, signal: new AbortController().signal }, 'signal'],
      [{}, { signal: same.signal }, 'signal'],
      [{ signal: same.signal }, {}, 'signal'],
    ];
    for (const [first, second, field] of others) {
      const requests = [first, first, second].map((each) => ({ prompts, maxTokens: 4, ...each }));
      const error = await expectNoLeak(() => errorOf(() => summariesOf(requests)));
      expect(error).toMatchObject({
        code: 'bad-input',
        message: `Request 2 of the batch has another ${field} than request 0: give all requests of a batch the same one, or none.`,
      });
    }
  });

  test('has settings of its own, with the text that it has alone', async () => {
    const settings: Partial<SdaSettings>[] = [
      { k: 1 },
      { k: 3, amplification: 0.5, t0: 1.2, topP: 0.7 },
      { mode: 'base', topK: 3 },
      { mode: 'steering', plausibility: 0.2, t0: 0.9 },
      { mode: 'instructed', minP: 0.3 },
      { mode: 'scaling', sigma: 0.2, tMin: 0.1 },
      { greedy: true, k: 1.5 },
      { t0: 0 },
    ];
    const requests = [...settings, ...settings].map((each, seed) => ({
      prompts,
      maxTokens: 12,
      settings: each,
      seed,
    }));
    const together = await summariesOf(requests);
    for (const [index, request] of requests.entries()) {
      const [alone] = await summariesOf([request]);
      const { timing: _, ...expected } = alone!;
      expect(together[index]).toMatchObject(expected);
    }
  });
});

test('a batch that memory cannot hold is refused before it begins, with the streams that would run', async () => {
  const dir = checkpointDir('tiny-llama');
  let plan: MemoryPlan | undefined;
  const loaded = await loadModel(dir, {
    onPlan: (made) => {
      plan = made;
    },
  });
  const { config } = loaded;
  const room = sda.instructed.length + 40;
  const { weights, available, kv, device } = plan!;
  const needs = { weights, available, kv, device, context: room };
  const pairs = (batch: number) => planMemory(config, { ...needs, batch }).total;
  const tight = new SdaModel(dir, loaded.decoder, {}, { ...plan!, available: pairs(3) });
  const request = { prompts, maxTokens: 40, rule: endsAtThird() };
  const requests = Array.from({ length: 6 }, () => request);
  const first = (more: Partial<GenerateRequest>, maxBatch?: number) => {
    const batch = tight.generateBatch(
      requests.map((each) => ({ ...each, ...more })),
      { maxBatch },
    );
    return batch.next().finally(() => batch.return([]));
  };
  await expectNoLeak(async () => {
    expect((await first({}, 3)).value).toHaveLength(3);
    expect(await errorOf(() => first({}, 4))).toMatchObject({
      code: 'out-of-memory',
      message: expect.stringMatching(
        /^A batch of 4 with .*\(8 streams of \d+ tokens\).*fewer answers at once \(batch, maxBatch\)/,
      ),
    });
    expect(await errorOf(() => first({}))).toMatchObject({ code: 'out-of-memory' });
    expect((await first({ singleStream: true })).value).toHaveLength(6);
    expect((await first({ maxTokens: 1 }, 4)).value).toHaveLength(4);
  });
  loaded.dispose();
});
