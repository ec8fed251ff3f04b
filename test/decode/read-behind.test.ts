import { tensor2d } from '@tensorflow/tfjs-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type DecodeOptions, decode } from '../../src/decode/generate.js';
import type { Streams } from '../../src/decode/streams.js';
import { SdaError } from '../../src/errors.js';
import { readDraw } from '../../src/method/rule.js';
import { resolveSettings } from '../../src/method/settings.js';
import { type SdaStep, sdaRule } from '../../src/method/step.js';
import { type LoadedDecoder, loadDecoder } from '../../src/model/load-model.js';
import { checkpointDir, golden } from '../support/checkpoints.js';
import { expectSameTexts, plainOptions, queryOf, run } from '../support/decoding.js';
import { errorOf, expectNoLeak, useTensorFlow } from '../support/tensorflow.js';

useTensorFlow();

const { sda } = golden('tiny-llama');
const pair: Streams = [sda.base, sda.instructed];
const greedy = sda.runs['sigma_0.01']!.steps.map(({ id }) => id);
const V = 131;
const SAMPLED = { sigma: 1, topP: 1, t0: 1.2 };

let model: LoadedDecoder;
beforeAll(async () => {
  model = await loadDecoder(checkpointDir('tiny-llama'));
});
afterAll(() => model.dispose());

/** Notes each draw, and each event that comes out, in order. */
async function orderOf(more: Partial<DecodeOptions>, wrap: (rule: SdaStep) => SdaStep) {
  const order: string[] = [];
  let draws = 0;
  const rule = wrap((logits, args) => {
    order.push(`draw ${draws++}`);
    return sdaRule(resolveSettings({ greedy: true }))(logits, args);
  });
  const query = queryOf(pair, { maxTokens: 4 });
  let events = 0;
  for await (const _ of decode(model, [query], plainOptions({}, { ...more, rule }))) {
    order.push(`event ${events++}`);
  }
  return order;
}

const AT_ONCE = [0, 1, 2, 3].flatMap((step) => [`draw ${step}`, `event ${step}`]);

test('the next step is drawn before the tokens of one are read, from the device', async () => {
  const order = await orderOf({ readBehind: true }, (rule) => rule);
  expect(order).toEqual([
    'draw 0',
    'draw 1',
    'event 0',
    'draw 2',
    'event 1',
    'draw 3',
    'event 2',
    'event 3',
  ]);
});

test('it is not where that is not asked for, as on a CPU, nor where the host chooses', async () => {
  expect(await orderOf({ readBehind: false }, (rule) => rule)).toEqual(AT_ONCE);
  const onHost = (rule: SdaStep): SdaStep => {
    return async (logits, args) => {
      const drawn = await rule(logits, args);
      return 'lines' in drawn ? readDraw(drawn) : drawn;
    };
  };
  expect(await orderOf({ readBehind: true }, onHost)).toEqual(AT_ONCE);
});

test('texts that stop, and queries that take their rows, are to the bit the same', async () => {
  const queries = Array.from({ length: 7 }, (_, i) =>
    queryOf([sda.base, [...sda.instructed, 3 + i]], { seed: 50 + i, maxTokens: 4 + 3 * i }),
  );
  // about one token in eight ends a text
  const stopIds = new Set(Array.from({ length: 16 }, (_, i) => 8 * i));
  const eventsOf = async (readBehind: boolean, maxBatch: number) => {
    const options = plainOptions(SAMPLED, { stopIds, readBehind, maxBatch });
    const { events } = await expectNoLeak(() => run(model, queries, options));
    return events;
  };
  const expected = await eventsOf(false, 2);
  const reasons = expected.map((list) => list.at(-1)!.finishReason);
  expect(new Set(reasons)).toEqual(new Set(['stop', 'length']));
  for (const places of [1, 2, 3, 5, 7]) expectSameTexts(await eventsOf(true, places), expected);
});

/** A rule that sees NaN in all logits of one query at one of its calls. */
function damaging(call: number, query: number): SdaStep {
  const own = sdaRule(resolveSettings({ greedy: true }));
  let calls = 0;
  return (logits, draws) => {
    const line = draws.queries!.indexOf(query);
    if (calls++ !== call || line === -1) return own(logits, draws);
    const values = logits
      .dataSync()
      .slice()
      .fill(Number.NaN, 2 * line * V, 2 * (line + 1) * V);
    const damaged = tensor2d(values, [logits.shape[0], V]);
    try {
      return own(damaged, draws);
    } finally {
      damaged.dispose();
    }
  };
}

test('what is drawn after a stop is dropped, unusable logits too', async () => {
  const at = 3;
  expect(greedy.indexOf(greedy[at]!)).toBe(at);
  const stopIds = new Set([greedy[at]!]);
  const queries = [queryOf(pair), queryOf([[20], [21, 22]], { maxTokens: 12 })];
  const textsOf = async (rule: SdaStep) => {
    const options = plainOptions({}, { rule, stopIds, readBehind: true });
    return (await expectNoLeak(() => run(model, queries, options))).ids;
  };
  const sound = await textsOf(damaging(-1, 0));
  expect(sound[0]).toEqual(greedy.slice(0, at + 1));
  expect(sound[1]!.length).toBeGreaterThan(at + 2);
  expect(await textsOf(damaging(at + 1, 0))).toEqual(sound);
  const error = await errorOf(() => textsOf(damaging(at + 1, 1)));
  expect(error.message).toMatch(/^At step 4, .* stream of query 1: /);
});

test('unusable logits name their own step', async () => {
  const queries = [queryOf([[20], [21, 22]], { seed: 3 }), queryOf(pair)];
  for (const readBehind of [true, false]) {
    const options = plainOptions({}, { rule: damaging(2, 1), readBehind });
    const error = await expectNoLeak(() => errorOf(() => run(model, queries, options)));
    expect(error).toMatchObject({
      code: 'bad-logits',
      message: expect.stringMatching(/^At step 2, .* in the base stream of query 1: /),
    });
  }
});

test('where a rule fails, the step before it is shown, and the error is of its own step', async () => {
  const queries = [queryOf(pair), queryOf([[20], [21, 22]], { maxTokens: 3 })];
  const shownUntil = async (call: number, readBehind: boolean) => {
    const own = sdaRule(resolveSettings({ greedy: true }));
    let calls = 0;
    const rule: SdaStep = (logits, draws) => {
      if (calls++ === call) throw new SdaError('bad-logits', 'the rule met a NaN.');
      return own(logits, draws);
    };
    const shown: [number, number, string | null][] = [];
    const reading = async () => {
      for await (const events of decode(model, queries, plainOptions({}, { rule, readBehind }))) {
        for (const { query, choice, finishReason } of events) {
          shown.push([query, choice.id, finishReason]);
        }
      }
    };
    const error = await expectNoLeak(() => errorOf(reading));
    expect(error.message).toMatch(new RegExp(`^At step ${call}, the rule met a NaN; `));
    return shown;
  };
  for (const call of [0, 1, 2, 3, 4, 15]) {
    const shown = await shownUntil(call, true);
    expect(shown).toEqual(await shownUntil(call, false));
    expect(shown).toHaveLength(call + Math.min(call, 3));
  }
});

test('a rule that fails at what was drawn in vain is no error', async () => {
  const at = 3;
  const own = sdaRule(resolveSettings({ greedy: true }));
  for (const waiting of [[], [queryOf(pair, { maxTokens: 2 })]]) {
    let calls = 0;
    const rule: SdaStep = (logits, draws) => {
      if (calls++ === at + 1) throw new Error('in vain');
      return own(logits, draws);
    };
    const stopIds = new Set([greedy[at]!]);
    const options = plainOptions({}, { rule, stopIds, readBehind: true, maxBatch: 1 });
    const queries = [queryOf(pair), ...waiting];
    const { ids, events } = await expectNoLeak(() => run(model, queries, options));
    expect(ids[0]).toEqual(greedy.slice(0, at + 1));
    expect(events[0]!.at(-1)!.finishReason).toBe('stop');
    if (waiting.length > 0) expect(ids[1]).toEqual(greedy.slice(0, 2));
  }
});
