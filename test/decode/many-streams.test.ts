import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type DecodeOptions, decode, type Query } from '../../src/decode/generate.js';
import { prefill } from '../../src/decode/prefill.js';
import { type Streams, sharedPrefixes } from '../../src/decode/streams.js';
import { type Blend, type BlendChoice, drawBlend } from '../../src/method/blend.js';
import type { StepRule } from '../../src/method/rule.js';
import { type LoadedDecoder, loadDecoder } from '../../src/model/load-model.js';
import { hasNativeKernel } from '../../src/runtime/native.js';
import { checkpointDir } from '../support/checkpoints.js';
import { expectClose } from '../support/close.js';
import { cacheOf } from '../support/steps.js';
import { errorOf, expectNoLeak, useTensorFlow, valuesOf } from '../support/tensorflow.js';
import { TOLERANCE } from '../support/tolerances.js';

useTensorFlow();

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

/** To the bit with the native kernels; up to rounding without them, whose products depend on the batch. */
function expectSame(found: readonly number[], expected: readonly number[]): void {
  if (hasNativeKernel('SdaDecoderLayers')) expect(found).toEqual(expected);
  else expectClose([...found], [...expected], TOLERANCE.sameModel);
}

describe('sharedPrefixes', () => {
  const prompt = fc.array(fc.integer({ min: 0, max: 2 }), { minLength: 1, maxLength: 7 });

  test('runs each token that streams share once, and leaves one of each stream', () => {
    fc.assert(
      fc.property(fc.array(prompt, { minLength: 1, maxLength: 6 }), (query) => {
        const { shared, starts } = sharedPrefixes(query);
        const known = query.map(() => 0); // tokens in each stream's row
        const run: string[] = [];
        for (const { streams, start, end } of shared) {
          expect(streams.length).toBeGreaterThan(1);
          const [first] = streams as [number];
          for (const stream of streams) {
            expect(query[stream]!.slice(0, end)).toEqual(query[first]!.slice(0, end));
            expect(known[stream]).toBe(start);
            known[stream] = end;
          }
          for (let at = start; at < end; at++) run.push(query[first]!.slice(0, at + 1).join());
        }
        expect(new Set(run).size).toBe(run.length); // nothing twice
        expect(starts).toEqual(known);
        for (const [stream, ids] of query.entries()) {
          expect(starts[stream]).toBeLessThan(ids.length);
        }
        // no two streams that could share more
        query.forEach((a, i) => {
          query.slice(0, i).forEach((b, j) => {
            const most = Math.min(a.length, b.length) - 1;
            let length = 0;
            while (length < most && a[length] === b[length]) length++;
            expect(Math.min(starts[i]!, starts[j]!)).toBeGreaterThanOrEqual(length);
          });
        });
      }),
    );
  });

  test.each<[string, Streams, number[]]>([
    ['one stream', [[1, 2, 3]], [0]],
    [
      'equal prompts',
      [
        [1, 2],
        [1, 2],
        [1, 2],
      ],
      [1, 1, 1],
    ],
    [
      'a tree',
      [
        [1, 2, 3, 4],
        [1, 2, 3, 5],
        [1, 2, 9],
        [7, 8],
      ],
      [3, 3, 2, 0],
    ],
    [
      'two pairs',
      [
        [1, 2, 3],
        [4, 5, 6],
        [1, 2, 4],
        [4, 5, 7],
      ],
      [2, 2, 2, 2],
    ],
  ])('%s', (_, query, starts) => {
    expect(sharedPrefixes(query).starts).toEqual(starts);
  });
});

const PROMPTS: Streams = [
  [5, 6, 7, 8, 9],
  [5, 6, 7, 20],
  [5, 6, 7, 20, 21, 22],
  [40, 41],
];

test('prompts that share parts in a tree have the logits that each has alone', async () => {
  const options = { beforeForward: () => Promise.resolve() };
  const logitsOf = (streams: Streams) =>
    expectNoLeak(async () => {
      const cache = cacheOf(model, streams.length);
      const values = valuesOf(await prefill(model, streams, cache, options));
      cache.dispose();
      return values;
    });
  const alone: number[][] = [];
  for (const prompt of PROMPTS) alone.push(await logitsOf([prompt]));
  expectSame(await logitsOf(PROMPTS), alone.flat());
});

type Name = 'plain' | 'context' | 'expert';
const NAMES: readonly Name[] = ['plain', 'context', 'expert'];

/** A blend of three streams, whose weights are a query's own. */
const blended: StepRule<Partial<Record<Name, number>>, BlendChoice<Name>> = (logits, draws) => {
  const blends = draws.settings.map(
    (weights): Blend<Name> => ({
      anchor: 'plain',
      weights,
      temperature: { t0: 0.8 },
      cuts: { topK: 0, topP: 0.9, minP: 0 },
      greedy: false,
    }),
  );
  return drawBlend(logits, NAMES, blends, draws);
};

function queriesOf(count: number): Query<Partial<Record<Name, number>>>[] {
  return Array.from({ length: count }, (_, i) => ({
    streams: [
      [5, 6, 7 + i],
      [5, 6, 7 + i, 30, 31],
      [9, 5, 6],
    ],
    settings: { context: 0.3 * i, expert: -0.2 },
    seed: i,
    maxTokens: 4 + (i % 5),
  }));
}

async function eventsOf(
  queries: readonly Query<Partial<Record<Name, number>>>[],
  more: Partial<DecodeOptions<Partial<Record<Name, number>>, BlendChoice<Name>>> = {},
) {
  const options = { rule: blended, streams: NAMES, stopIds: new Set<number>(), maxContext: 64 };
  const found: BlendChoice<Name>[][] = queries.map(() => []);
  await expectNoLeak(async () => {
    for await (const events of decode(model, queries, { ...options, ...more })) {
      for (const { query, choice } of events) found[query]!.push(choice);
    }
  });
  return found;
}

async function eachAlone(...[queries, more]: Parameters<typeof eventsOf>) {
  const found: BlendChoice<Name>[][] = [];
  for (const query of queries) found.push(...(await eventsOf([query], more)));
  return found;
}

const numbersOf = (lists: readonly BlendChoice<Name>[][]) =>
  lists
    .flat()
    .flatMap(({ id, logp, js, temperature, logps }) => [
      id,
      logp,
      js,
      temperature,
      ...NAMES.map((name) => logps[name]),
    ]);

describe('three streams', () => {
  test('have in a batch what they have alone, whatever its size and reading', async () => {
    const queries = queriesOf(9);
    const alone = await eachAlone(queries);
    for (const maxBatch of [1, 2, 5, 9]) {
      for (const readBehind of [false, true]) {
        expectSame(numbersOf(await eventsOf(queries, { maxBatch, readBehind })), numbersOf(alone));
      }
    }
  });

  test('one of which another model runs have the log-probabilities of that model', async () => {
    const [query] = queriesOf(1);
    const models = { expert: other };
    const [choices] = await eventsOf([query!], { models });
    const ids = choices!.map(({ id }) => id);
    for (const [stream, name] of NAMES.entries()) {
      const runs = name === 'expert' ? other : model;
      const expected: number[] = [];
      for (const [step, id] of ids.entries()) {
        const cache = cacheOf(runs, 1);
        const prompt = [...query!.streams[stream]!, ...ids.slice(0, step)];
        const options = { beforeForward: () => Promise.resolve() };
        const V = Math.min(model.config.vocabSize, other.config.vocabSize);
        const logits = valuesOf(await prefill(runs, [prompt], cache, options)).slice(0, V);
        cache.dispose();
        const largest = Math.max(...logits);
        const sum = logits.reduce((total, value) => total + Math.exp(value - largest), 0);
        expected.push(logits[id]! - largest - Math.log(sum));
      }
      expectClose(
        choices!.map(({ logps }) => logps[name]),
        expected,
        1e-5,
      );
    }
  });

  test('that two models run have in a batch what they have alone', async () => {
    const queries = queriesOf(5);
    const models = { context: other };
    const alone = await eachAlone(queries, { models });
    const together = await eventsOf(queries, { models, maxBatch: 3 });
    expectSame(numbersOf(together), numbersOf(alone));
  });

  test('must all have a prompt', async () => {
    const [query] = queriesOf(1);
    const short = { ...query!, streams: query!.streams.slice(0, 2) };
    expect(await errorOf(() => eventsOf([short]))).toMatchObject({
      code: 'bad-input',
      message: 'Query 0 must have 3 prompts (plain, context, expert), but has 2.',
    });
    const empty = { ...query!, streams: [[1], [2], []] };
    expect(await errorOf(() => eventsOf([empty]))).toMatchObject({
      message: 'The expert prompt has no token: give it at least one.',
    });
  });
});

describe('a rule with state', () => {
  /** Counts what a rule is told. */
  function watched(fail?: number) {
    const told: string[] = [];
    let call = 0;
    const rule: typeof blended = (logits, draws) => {
      if (call++ === fail) throw new Error('it fails');
      told.push(`step ${draws.queries!.join(' ')}`);
      return blended(logits, draws);
    };
    const begin = (query: number, { context }: Partial<Record<Name, number>>) =>
      told.push(`begin ${query} ${context}`);
    const end = (query: number) => told.push(`end ${query}`);
    return { told, rule: Object.assign(rule, { begin, end }) as unknown as typeof blended };
  }
  const queries = queriesOf(3).map((query, i) => ({
    ...query,
    settings: { context: i },
    maxTokens: 2 + i,
  }));

  test.each([false, true])(
    'is told of each beginning and end, reading behind: %s',
    async (readBehind) => {
      const { told, rule } = watched();
      await eventsOf(queries, { rule, maxBatch: 2, readBehind });
      expect(told.filter((line) => line.startsWith('begin'))).toEqual([
        'begin 0 0',
        'begin 1 1',
        'begin 2 2',
      ]);
      expect(told.filter((line) => line.startsWith('end'))).toEqual(['end 0', 'end 1', 'end 2']);
      for (const query of [0, 1, 2]) {
        const steps = told.flatMap((line, i) =>
          line.startsWith('step') && line.split(' ').includes(String(query)) ? [i] : [],
        );
        expect(told.indexOf(`begin ${query} ${query}`)).toBeLessThan(steps[0]!);
        expect(told.indexOf(`end ${query}`)).toBeGreaterThan(steps.at(-1)!);
      }
    },
  );

  test('is told of the end of what is given up', async () => {
    const failing = watched(1);
    await errorOf(() => eventsOf(queries, { rule: failing.rule }));
    expect(failing.told.slice(-3)).toEqual(['end 0', 'end 1', 'end 2']);
    const left = watched();
    const options = { rule: left.rule, streams: NAMES, stopIds: new Set<number>(), maxContext: 64 };
    await expectNoLeak(async () => {
      for await (const _ of decode(model, queries, options)) break;
    });
    expect(left.told.slice(-3)).toEqual(['end 0', 'end 1', 'end 2']);
  });
});
