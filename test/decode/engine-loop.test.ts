import { memory } from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { EngineLoop, type EngineLoopOptions } from '../../src/decode/engine-loop.js';
import type { DecodeEvent } from '../../src/decode/event.js';
import { decode, type Query } from '../../src/decode/generate.js';
import { Pace } from '../../src/decode/pace.js';
import { tokensOf } from '../../src/decode/prompt-chunk.js';
import type { Decoding } from '../../src/decode/running.js';
import { SdaError } from '../../src/errors.js';
import type { Choice, StepRule } from '../../src/method/rule.js';
import { sdaRule } from '../../src/method/step.js';
import { type LoadedDecoder, loadDecoder } from '../../src/model/load-model.js';
import { RULES } from '../../src/rules/catalogue.js';
import type { Rule } from '../../src/rules/define.js';
import { resolveSettingsOf } from '../../src/rules/define.js';
import { hostRule } from '../../src/rules/host.js';
import { checkpointDir } from '../support/checkpoints.js';
import { expectSameBits } from '../support/decoding.js';
import { errorOf, expectNoLeak, useTensorFlow } from '../support/tensorflow.js';

useTensorFlow();

const CONTEXT = 128;
const ids = (count: number, from: number) =>
  Array.from({ length: count }, (_, i) => (7 * (from + i)) % 61);

let model: LoadedDecoder;
let other: LoadedDecoder;
beforeAll(async () => {
  model = await loadDecoder(checkpointDir('tiny-llama'));
  other = await loadDecoder(checkpointDir('tiny-llama-tied'));
});
afterAll(() => {
  model.dispose();
  other.dispose();
});

/** A query with its rule. */
interface Asked {
  readonly query: Query<object>;
  readonly rule: Rule;
}

const host = hostRule({
  name: 'host',
  title: 'The likeliest of the sum, asked of the host',
  formula: 'A + B',
  source: 'a test',
  streams: { a: {}, b: {} },
  anchor: 'a',
  settings: {},
  score: ({ a, b }) => a.map((logP, id) => logP + b[id]!),
});

/** Every rule of the catalogue, and one of the host, with prompts of different lengths. */
function askedOf(count: number): Asked[] {
  const rules = [...RULES, host] as unknown as Rule[];
  return Array.from({ length: count }, (_, i) => {
    const rule = rules[i % rules.length]!;
    const names = Object.keys(rule.streams);
    const settings = resolveSettingsOf(rule, { ...(i % 3 === 0 && { topP: 0.8 }) }) as object;
    const common = ids(5 + ((11 * i) % 37), i % 4);
    const streams = names.map((__, stream) => [
      ...common,
      ...ids(1 + ((5 * i) % 9), 3 * stream + i),
    ]);
    return { rule, query: { streams, settings, seed: 7 * i, maxTokens: 3 + ((7 * i) % 11) } };
  });
}

function decodingOf({ rule }: Asked, more: Partial<Decoding> = {}): Decoding {
  const names = Object.values(rule.streams);
  return {
    rule: rule.step as StepRule<unknown>,
    models: names.map(({ model: name }) => (name === undefined ? model : other)),
    stopIds: new Set(),
    maxContext: CONTEXT,
    ...more,
  };
}

function open(more: Partial<EngineLoopOptions> = {}): EngineLoop {
  const room = { rows: 10, capacity: CONTEXT, most: CONTEXT };
  return new EngineLoop({
    models: new Map([
      [model, room],
      [other, room],
    ]),
    places: 5,
    maxWaiting: 100,
    pace: new Pace(),
    ...more,
  });
}

async function collect(events: AsyncIterable<DecodeEvent<Choice>>): Promise<DecodeEvent<Choice>[]> {
  const found: DecodeEvent<Choice>[] = [];
  for await (const event of events) found.push(event);
  return found;
}

/** The same query by itself, with nothing beside it. */
async function alone(asked: Asked): Promise<DecodeEvent<Choice>[]> {
  const names = Object.keys(asked.rule.streams);
  const { models } = decodingOf(asked);
  const found: DecodeEvent<Choice>[] = [];
  const options = {
    rule: asked.rule.step as StepRule<object, Choice>,
    streams: names,
    models: Object.fromEntries(
      names.map((name, stream) => [name, models[stream] as LoadedDecoder]),
    ),
    stopIds: new Set<number>(),
    maxContext: CONTEXT,
  };
  for await (const events of decode(model, [asked.query], options)) found.push(...events);
  return found;
}

const numbersOf = (events: readonly DecodeEvent<Choice>[]) =>
  events.flatMap(({ choice }) => [choice.id, choice.logp]);
const endOf = (events: readonly DecodeEvent<Choice>[]) => events.at(-1)?.finishReason;
const pause = (turns: number) =>
  Array.from({ length: turns }).reduce<Promise<void>>(
    (before) => before.then(() => new Promise((resolve) => setImmediate(resolve))),
    Promise.resolve(),
  );

describe.each([
  ['at once', false],
  ['a step behind', true],
] as const)('queries that come and go, read %s', (_, readBehind) => {
  test('each has the text that it has alone, whatever its rule and whenever it comes', async () => {
    const asked = askedOf(2 * RULES.length);
    const expected: DecodeEvent<Choice>[][] = [];
    for (const each of asked) expected.push(await alone(each));
    await expectNoLeak(async () => {
      const engine = open({ readBehind });
      const found = await Promise.all(
        asked.map(async (each, i) => {
          await pause((13 * i) % 60);
          return collect(engine.decode(each.query, decodingOf(each)));
        }),
      );
      found.forEach((events, i) => {
        expect(endOf(events)).toBe('length');
        expectSameBits(numbersOf(events), numbersOf(expected[i]!));
      });
      await engine.close();
    });
  });

  test('those that leave at any time take nothing with them, and the others go on as alone', async () => {
    const asked = askedOf(12);
    const expected: number[][] = [];
    for (const each of asked) expected.push(numbersOf(await alone(each)));
    const engine = open({ readBehind });
    for (const each of asked) await collect(engine.decode(each.query, decodingOf(each))); // tables of angles are kept
    const before = memory().numTensors;
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.integer({ min: 0, max: 9 }), { minLength: 12, maxLength: 12 }),
        async (leaving) => {
          await Promise.all(
            asked.map(async (each, i) => {
              const [stop, most] = [new AbortController(), leaving[i]!];
              const events = engine.decode(
                each.query,
                decodingOf(each),
                i % 2 ? stop.signal : undefined,
              );
              const found: DecodeEvent<Choice>[] = [];
              if (most === 0) stop.abort();
              for await (const event of events) {
                found.push(event);
                if (found.length !== most) continue;
                if (i % 2 === 0) break;
                stop.abort();
              }
              const numbers = numbersOf(found);
              expectSameBits(numbers, expected[i]!.slice(0, numbers.length));
            }),
          );
          while (engine.load.running + engine.load.waiting > 0) await pause(1);
          expect(memory().numTensors).toBe(before);
        },
      ),
      { numRuns: 6 },
    );
    await engine.close();
  });

  test('one that fails leaves the others alone', async () => {
    const asked = askedOf(4);
    const broken: StepRule<unknown> = () => {
      throw new SdaError('bad-input', 'The rule is broken.');
    };
    await expectNoLeak(async () => {
      const engine = open({ readBehind });
      const found = asked.map((each) => collect(engine.decode(each.query, decodingOf(each))));
      const bad = { ...decodingOf(asked[0]!), rule: broken };
      const error = await errorOf(() => collect(engine.decode(asked[0]!.query, bad)));
      expect(error).toMatchObject({ message: 'The rule is broken.' });
      const texts = await Promise.all(found);
      for (const [i, events] of texts.entries()) {
        expectSameBits(numbersOf(events), numbersOf(await alone(asked[i]!)));
      }
      await engine.close();
    });
  });
});

describe('prompts', () => {
  const sda = askedOf(1)[0]!;
  const long = { streams: [ids(60, 0), [...ids(60, 0), 3, 4]] };

  /** How many tokens of prompts an engine runs, told by its cache's rows. */
  async function tokensRun(body: (engine: EngineLoop) => Promise<void>): Promise<number> {
    const { Prefill } = await import('../../src/decode/prefill.js');
    const ran = vi.spyOn(Prefill.prototype, 'ran');
    const engine = open();
    try {
      await body(engine);
      return ran.mock.calls.reduce((sum, [chunk]) => sum + tokensOf(chunk), 0);
    } finally {
      ran.mockRestore();
      await engine.close();
    }
  }

  const answer = (engine: EngineLoop, query: Partial<Query<object>>) =>
    collect(engine.decode({ ...sda.query, ...query }, decodingOf(sda)));

  test('of several answers are run once, and each answer is that of its seed', async () => {
    const one = await tokensRun(async (engine) => {
      await answer(engine, long);
    });
    const texts: number[][] = [];
    const four = await tokensRun(async (engine) => {
      const seeds = [1, 2, 3, 4];
      const found = await Promise.all(seeds.map((seed) => answer(engine, { ...long, seed })));
      texts.push(...found.map(numbersOf));
    });
    expect(four).toBe(one);
    expect(new Set(texts.map(String)).size).toBeGreaterThan(1);
    for (const [i, text] of texts.entries()) {
      const expected = await alone({ ...sda, query: { ...sda.query, ...long, seed: i + 1 } });
      expectSameBits(text, numbersOf(expected));
    }
  });

  test('begin with what an earlier query left, with the same bits', async () => {
    const again = {
      streams: [
        [...ids(60, 0), ...ids(8, 9)],
        [...ids(60, 0), 3, 4, ...ids(8, 5)],
      ],
    };
    const expected = numbersOf(await alone({ ...sda, query: { ...sda.query, ...again } }));
    const both = await tokensRun(async (engine) => {
      await answer(engine, long);
      expectSameBits(numbersOf(await answer(engine, again)), expected);
    });
    const each = [long, again].map((query) =>
      tokensRun(async (engine) => {
        await answer(engine, query);
      }),
    );
    const [first, second] = await Promise.all(each);
    const { hasNativeKernel } = await import('../../src/runtime/native.js');
    if (hasNativeKernel('SdaDecoderLayers')) expect(both).toBeLessThan(first! + second! / 2);
  });

  test('come in without stopping those that run', async () => {
    const engine = open();
    const running = engine.decode({ ...sda.query, maxTokens: 60 }, decodingOf(sda));
    let seen = 0;
    const reading = (async () => {
      for await (const _ of running) seen++;
    })();
    while (seen < 5) await pause(1);
    const before = seen;
    const first = await engine
      .decode({ ...sda.query, streams: [ids(110, 0), ids(110, 1)], maxTokens: 2 }, decodingOf(sda))
      .next();
    expect(first.done).toBe(false);
    expect(seen - before).toBeGreaterThanOrEqual(3); // 220 tokens, of which the first turns take few
    await reading;
    await engine.close();
  });
});

describe('given tokens', () => {
  test('are as likely as when they were drawn, and the likeliest beside them', async () => {
    await expectNoLeak(async () => {
      const engine = open();
      const query = { streams: [ids(40, 0)], settings: {}, seed: 3, maxTokens: 30 };
      const rule = sdaRule() as unknown as StepRule<unknown>;
      const drawn = await collect(
        engine.decode(query, { ...decodingOf(askedOf(1)[0]!), rule, models: [model] }),
      );
      const text = [...query.streams[0]!, ...drawn.map(({ choice }) => choice.id)];
      const { logps, top } = await engine.given(text, { models: [model], top: 3 });
      expect(logps).toHaveLength(text.length);
      expect([logps[0], top[0]]).toEqual([null, []]);
      drawn.forEach(({ choice }, i) => {
        const { logpBase } = choice as unknown as { logpBase: number };
        expect(logps[40 + i]!).toBeCloseTo(logpBase, 4);
      });
      for (const [i, each] of top.entries()) {
        if (i === 0) continue;
        expect(each).toHaveLength(3);
        expect(each.map(({ logp }) => logp)).toEqual(
          each.map(({ logp }) => logp).sort((a, b) => b - a),
        );
        expect(each[0]!.logp).toBeGreaterThanOrEqual(logps[i]!);
      }
      await engine.close();
    });
  });

  test('can be left', async () => {
    await expectNoLeak(async () => {
      const engine = open();
      const stop = new AbortController();
      const asked = engine.given(ids(100, 0), { models: [model], top: 0, signal: stop.signal });
      stop.abort();
      expect(await errorOf(() => asked)).toMatchObject({ code: 'aborted' });
      await engine.close();
    });
  });
});

test('a full engine refuses, and takes queries again when others have ended', async () => {
  const engine = open({ places: 1, maxWaiting: 2 });
  const [asked] = askedOf(1);
  const ask = () => collect(engine.decode(asked!.query, decodingOf(asked!)));
  const taken = [ask(), ask(), ask()];
  expect(await errorOf(ask)).toMatchObject({
    code: 'busy',
    message: expect.stringMatching(/^0 queries run and 3 wait, of at most 1 and 2: ask again/),
  });
  await Promise.all(taken);
  expect(endOf(await ask())).toBe('length');
  const last = ask();
  const closed = engine.close();
  expect(await errorOf(ask)).toMatchObject({ code: 'busy' });
  expect(endOf(await last)).toBe('length'); // what was taken is finished
  await closed;
});
