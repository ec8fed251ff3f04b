import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { EngineLoop } from '../../src/decode/engine-loop.js';
import type { DecodeEvent } from '../../src/decode/event.js';
import { logSumExp } from '../../src/decode/given-tokens.js';
import { Pace } from '../../src/decode/pace.js';
import { logitsAt } from '../../src/decode/positions.js';
import type { Decoding } from '../../src/decode/running.js';
import type { StepRule } from '../../src/method/rule.js';
import { sdaRule } from '../../src/method/step.js';
import { type LoadedDecoder, loadDecoder } from '../../src/model/load-model.js';
import { type CheckpointName, checkpointDir } from '../support/checkpoints.js';
import { expectSameBits } from '../support/decoding.js';
import { errorOf, expectNoLeak, useTensorFlow } from '../support/tensorflow.js';

useTensorFlow();

/** What transformers finds, see the script beside the fixture. */
interface Case {
  readonly model: CheckpointName;
  readonly prompt: number[];
  readonly beams: number;
  readonly lengthPenalty: number;
  readonly maxTokens: number;
  readonly endIds: number[];
  readonly texts: number[][];
  readonly scores: (number | null)[];
}
const CASES = JSON.parse(
  readFileSync(new URL('../fixtures/beams/beams.json', import.meta.url), 'utf8'),
) as Case[];

const models = new Map<string, LoadedDecoder>();
beforeAll(async () => {
  for (const { model } of CASES) {
    if (!models.has(model)) models.set(model, await loadDecoder(checkpointDir(model)));
  }
});
afterAll(() => {
  for (const model of models.values()) model.dispose();
});

const CONTEXT = 64;

function open(model: LoadedDecoder, places = 5): EngineLoop {
  const room = { rows: 2 * places, capacity: CONTEXT, most: CONTEXT };
  return new EngineLoop({
    models: new Map([[model, room]]),
    places,
    maxWaiting: 200,
    pace: new Pace(),
  });
}

function search(engine: EngineLoop, model: LoadedDecoder, each: Case, signal?: AbortSignal) {
  const { prompt, beams, lengthPenalty, maxTokens } = each;
  const options = { beams, lengthPenalty, maxTokens, endIds: new Set(each.endIds) };
  return engine.beams(prompt, { ...options, models: [model], maxContext: CONTEXT }, signal);
}

async function within<T>(
  model: LoadedDecoder,
  body: (engine: EngineLoop) => Promise<T>,
  places = 5,
) {
  const engine = open(model, places);
  try {
    return await body(engine);
  } finally {
    await engine.close();
  }
}

test('the cases have texts that end by themselves, and others', () => {
  const ends = CASES.flatMap(({ texts, endIds }) =>
    texts.map((ids) => endIds.includes(ids.at(-1)!)),
  );
  expect(ends.filter(Boolean).length).toBeGreaterThan(20);
  expect(ends.filter((end) => !end).length).toBeGreaterThan(20);
});

test.each(
  CASES.map((each) => [`${each.beams} of ${each.model} after ${each.prompt}`, each] as const),
)('beams are those of transformers: %s', async (_, each) => {
  const model = models.get(each.model)!;
  await expectNoLeak(async () => {
    const found = await within(model, (engine) => search(engine, model, each));
    const { endIds, texts, scores, beams, lengthPenalty } = each;
    expect(found.slice(0, texts.length).map(({ ids }) => ids)).toEqual(texts);
    for (const [i, { ids, logp, score, ended }] of found.entries()) {
      if (beams > 1) expect(score).toBeCloseTo(scores[i]!, 4);
      expect(score).toBeCloseTo(logp / ids.length ** lengthPenalty, 10);
      expect(ended).toBe(endIds.includes(ids.at(-1)!));
    }
  });
});

test('as many beams as there are tokens find the likeliest of all texts of two tokens', async () => {
  const model = models.get('tiny-llama')!;
  const V = model.config.vocabSize;
  const prompt = [1, 5, 9, 13];
  const logpsAfter = async (ids: number[]) => {
    const [logits] = await logitsAt(model, ids, [ids.length - 1]);
    const logZ = logSumExp(logits!);
    return Array.from(logits!, (logit) => logit - logZ);
  };
  const all: { ids: number[]; logp: number }[] = [];
  for (const [first, logp] of (await logpsAfter(prompt)).entries()) {
    const next = await logpsAfter([...prompt, first]);
    all.push(...next.map((more, second) => ({ ids: [first, second], logp: logp + more })));
  }
  const expected = all.sort((a, b) => b.logp - a.logp).slice(0, 20);
  const asked = { prompt, beams: V, lengthPenalty: 0, maxTokens: 2, endIds: [] };
  const found = await within(
    model,
    (engine) => search(engine, model, { ...CASES[0]!, ...asked }),
    V,
  );
  expect(found).toHaveLength(V);
  found.slice(0, 20).forEach(({ logp }, i) => {
    expect(logp).toBeCloseTo(expected[i]!.logp, 4);
  });
  expect(found[0]!.ids).toEqual(expected[0]!.ids);
});

describe('beside others', () => {
  const model = () => models.get('tiny-llama')!;
  const each = CASES.find(({ beams, model }) => beams === 4 && model === 'tiny-llama')!;
  const query = (seed: number) => ({
    streams: [[3, 1, 4, 1, 5, seed]],
    settings: {},
    seed,
    maxTokens: 20,
  });
  const decoding = (): Decoding => ({
    rule: sdaRule() as unknown as StepRule<unknown>,
    models: [model()],
    stopIds: new Set(),
    maxContext: CONTEXT,
  });
  const numbersOf = async (events: AsyncIterable<DecodeEvent>) => {
    const numbers: number[] = [];
    for await (const { choice } of events) numbers.push(choice.id, choice.logp);
    return numbers;
  };
  const sample = (engine: EngineLoop, seed: number) =>
    numbersOf(engine.decode(query(seed), decoding()) as AsyncIterable<DecodeEvent>);

  test('beams wait for room for all of them, and all texts are those that they are alone', async () => {
    const alone = await within(model(), (engine) => search(engine, model(), each));
    const texts: number[][] = [];
    for (const seed of [1, 2, 3, 4]) {
      texts.push(await within(model(), (engine) => sample(engine, seed)));
    }
    await expectNoLeak(() =>
      within(model(), async (engine) => {
        const early = [1, 2].map((seed) => sample(engine, seed));
        const first = search(engine, model(), each);
        const late = [3, 4].map((seed) => sample(engine, seed));
        const second = search(engine, model(), each);
        for (const found of [await first, await second]) {
          expect(found.map(({ ids }) => ids)).toEqual(alone.map(({ ids }) => ids));
          expectSameBits(
            found.map(({ logp }) => logp),
            alone.map(({ logp }) => logp),
          );
        }
        for (const [i, numbers] of (await Promise.all([...early, ...late])).entries()) {
          expectSameBits(numbers, texts[i]!);
        }
      }),
    );
  });

  test('a caller that leaves takes the beams along, and others go on', async () => {
    const expected = await within(model(), (engine) => sample(engine, 1));
    await within(model(), async (engine) => {
      const stop = new AbortController();
      const other = sample(engine, 1);
      const left = errorOf(() => search(engine, model(), { ...each, maxTokens: 40 }, stop.signal));
      while (engine.load.running < 4) await new Promise((resolve) => setImmediate(resolve));
      stop.abort();
      expect(await left).toMatchObject({ code: 'aborted' });
      expectSameBits(await other, expected);
      expect(engine.load).toEqual({ waiting: 0, running: 0 });
    });
  });

  test.each([0, 1.5, 6])('%d beams are refused where there are 5 places', async (beams) => {
    await within(model(), async (engine) => {
      const error = await errorOf(() => search(engine, model(), { ...each, beams }));
      expect(error).toMatchObject({
        code: 'bad-input',
        message: `beams must be a whole number in 1..5, the places of the engine, but is ${beams}.`,
      });
    });
  });
});
