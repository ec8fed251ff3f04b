import { memory, type Tensor2D, tensor1d } from '@tensorflow/tfjs-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type DecodeOptions, decode } from '../../src/decode/generate.js';
import type { Streams } from '../../src/decode/streams.js';
import { SdaError } from '../../src/errors.js';
import { resolveSettings, type SdaSettings } from '../../src/method/settings.js';
import { type SdaStep, sdaRule } from '../../src/method/step.js';
import { type LoadedDecoder, loadDecoder } from '../../src/model/load-model.js';
import { CHECKPOINTS, checkpointDir, golden } from '../support/checkpoints.js';
import { expectClose, expectNear } from '../support/close.js';
import { expectSameTexts, MAX_CONTEXT, plainOptions, queryOf, run } from '../support/decoding.js';
import { errorOf, expectNoLeak, useTensorFlow } from '../support/tensorflow.js';
import { TOLERANCE } from '../support/tolerances.js';

useTensorFlow();

/** A rule that gathers the logits it is shown. */
function watched(rule: SdaStep, seen: number[][]): SdaStep {
  return (logits, draws) => {
    seen.push([...logits.dataSync()]);
    return rule(logits, draws);
  };
}

describe.each(CHECKPOINTS)('%s decodes as computed from the logits of transformers', (name) => {
  let model: LoadedDecoder;
  beforeAll(async () => {
    model = await loadDecoder(checkpointDir(name));
  });
  afterAll(() => model.dispose());
  const { sda } = golden(name);

  test.each(Object.entries(sda.runs))('%s', async (_, { sigma, steps }) => {
    const settings = { k: sda.k, t0: sda.t0, tMin: sda.tmin, sigma, greedy: true };
    const query = queryOf([sda.base, sda.instructed], { amplification: sda.a });
    const { events, ids } = await expectNoLeak(() => run(model, [query], plainOptions(settings)));
    expect(ids[0]).toEqual(steps.map(({ id }) => id));
    steps.forEach((step, i) => {
      const { choice, finishReason } = events[0]![i]!;
      expectNear(choice.js, step.js, TOLERANCE.goldenJs);
      expectNear(choice.temperature / step.temperature, 1, TOLERANCE.goldenTemperature);
      expectNear(choice.logpBase, step.logp_base, TOLERANCE.goldenLogProb);
      expectNear(choice.logpInstructed, step.logp_instructed, TOLERANCE.goldenLogProb);
      expectNear(choice.logp, step.logp, TOLERANCE.goldenLogProb);
      expect(finishReason).toBe(i === steps.length - 1 ? 'length' : null);
    });
  });
});

describe.each([
  ['at once', false],
  ['a step behind', true],
] as const)('decode, read %s', (_, readBehind) => {
  const optionsOf = (settings: Partial<SdaSettings>, more: Partial<DecodeOptions> = {}) =>
    plainOptions(settings, { readBehind, ...more });
  let model: LoadedDecoder;
  beforeAll(async () => {
    model = await loadDecoder(checkpointDir('tiny-llama'));
  });
  afterAll(() => model.dispose());
  const { sda, greedy, forced } = golden('tiny-llama');
  const V = 131;
  const pair: Streams = [sda.base, sda.instructed];
  const SAMPLED = { sigma: 1, topP: 1, t0: 1.2 };

  test('both streams of a batch have the logits of each stream alone, with a shared prefix or without', async () => {
    const other: Streams = [
      [50, 40, 30],
      [60, ...sda.instructed],
    ]; // nothing shared
    for (const streams of [pair, other]) {
      const seen: number[][] = [];
      const options = optionsOf({ greedy: true });
      const both = await run(model, [queryOf(streams)], {
        ...options,
        rule: watched(options.rule, seen),
      });
      for (const stream of [0, 1]) {
        const alone: number[][] = [];
        let step = 0;
        // follows the tokens of the pair
        const follow: SdaStep = async () => {
          const { choice } = both.events[0]![step++]!;
          return [choice];
        };
        const query = queryOf([streams[stream]!]);
        await run(model, [query], { ...options, rule: watched(follow, alone) });
        expect(alone).toHaveLength(seen.length);
        alone.forEach((logits, i) => {
          expectClose(seen[i]!.slice(stream * V, (stream + 1) * V), logits, TOLERANCE.sameModel);
        });
      }
    }
  });

  test('one stream is plain decoding', async () => {
    const query = queryOf([greedy.prompt]);
    const { ids, events } = await run(model, [query], optionsOf({ greedy: true }));
    expect(ids[0]).toEqual(greedy.ids);
    expect(events[0]!.every(({ choice }) => choice.js === 0)).toBe(true);
  });

  test('each query of a batch has the text it has alone', async () => {
    const queries = [
      queryOf(pair, { seed: 7, maxTokens: 24 }),
      queryOf([greedy.prompt, [...greedy.prompt, 9, 10]], {
        seed: 8,
        amplification: 0.1,
        maxTokens: 24,
      }),
      queryOf([[20], [21, 22]], { seed: 7, amplification: -0.2, maxTokens: 24 }),
    ];
    const together = await expectNoLeak(() => run(model, queries, optionsOf(SAMPLED)));
    for (const [index, query] of queries.entries()) {
      const alone = await run(model, [query], optionsOf(SAMPLED));
      expect(together.ids[index]).toEqual(alone.ids[0]);
      expect(alone.ids[0]).toHaveLength(24);
    }
  });

  test('a seed fixes the text, another seed changes it', async () => {
    const text = async (seed: number) =>
      (await run(model, [queryOf(pair, { seed })], optionsOf(SAMPLED))).ids[0]!;
    const first = await text(5);
    expect(await text(5)).toEqual(first);
    expect(await text(6)).not.toEqual(first);
  });

  test('the uniforms of small seeds are spread, from the first step on', async () => {
    const uniforms: number[][] = [];
    const rule: SdaStep = async (_, draws) => {
      uniforms.push([...draws.uniforms]);
      return draws.uniforms.map(() => ({
        id: 7,
        js: 0,
        temperature: 1,
        logpBase: 0,
        logpInstructed: 0,
        logp: 0,
      }));
    };
    const queries = Array.from({ length: 200 }, (_, seed) =>
      queryOf([[5]], { seed, maxTokens: 3 }),
    );
    await run(model, queries, optionsOf({}, { rule }));
    for (const line of uniforms) {
      expect(new Set(line).size).toBe(200);
      for (const quarter of [0, 1, 2, 3]) {
        const within = line.filter((u) => Math.floor(4 * u) === quarter);
        expect(within.length).toBeGreaterThanOrEqual(30); // 50 expected, 3.3 deviations
      }
    }
  });

  test('queries end at different times and the others go on as alone', async () => {
    const lengths = [3, 9, 1, 6];
    const queries = lengths.map((maxTokens, i) => queryOf(pair, { seed: 30 + i, maxTokens }));
    const batches: number[][] = [];
    const { ids, events } = await run(model, queries, {
      ...optionsOf(SAMPLED),
      rule: (logits, draws) => {
        batches.push(logits.shape);
        return sdaRule(resolveSettings(SAMPLED))(logits, draws);
      },
    });
    expect(batches.map(([rows]) => rows)).toEqual([8, 6, 6, 4, 4, 4, 2, 2, 2]);
    for (const [i, query] of queries.entries()) {
      const alone = await run(model, [query], optionsOf(SAMPLED));
      expect(ids[i]).toEqual(alone.ids[0]);
      expect(events[i]!.map(({ finishReason }) => finishReason)).toEqual([
        ...Array(lengths[i]! - 1).fill(null),
        'length',
      ]);
    }
  });

  describe('with more queries than places', () => {
    const lengths = [3, 9, 1, 6, 2, 12, 5, 1];
    const queries = lengths.map((maxTokens, i) =>
      queryOf(
        [
          [3 + i, ...sda.base],
          [...sda.instructed, 7 + i],
        ],
        {
          seed: 40 + i,
          amplification: 0.1 * i,
          maxTokens,
        },
      ),
    );
    test('a waiting query takes the rows of one that ended', async () => {
      const batches: number[] = [];
      const rule = sdaRule(resolveSettings(SAMPLED));
      const watch: SdaStep = (logits, draws) => {
        batches.push(logits.shape[0]);
        return rule(logits, draws);
      };
      const { events } = await expectNoLeak(() =>
        run(model, queries, optionsOf(SAMPLED, { rule: watch, maxBatch: 3 })),
      );
      expect(events.map(({ length }) => length)).toEqual(lengths);
      // 39 tokens; the places stay taken while anyone waits
      expect(batches.slice(0, 9)).toEqual(Array(9).fill(6));
      expect(batches.reduce((sum, rows) => sum + rows / 2, 0)).toBe(39);
    });

    test.each([1, 2, 3, 5, 6, 8, 24])(
      'its numbers are to the bit those it has alone, %d places',
      async (n) => {
        const many = Array.from({ length: 4 }, (_, round) =>
          queries.map((query) => ({ ...query, seed: query.seed + 100 * round })),
        ).flat();
        const together = await run(model, many, optionsOf(SAMPLED, { maxBatch: n }));
        const alone = await Promise.all(many.map((q) => run(model, [q], optionsOf(SAMPLED))));
        expectSameTexts(
          together.events,
          alone.map(({ events }) => events[0]!),
        );
      },
    );

    test.each([0, 1.5, Number.NaN])('refuses %d places', async (maxBatch) => {
      const error = await errorOf(() => run(model, queries, optionsOf({}, { maxBatch })));
      expect(error).toMatchObject({
        code: 'bad-input',
        message: `maxBatch must be a whole number of at least 1, but is ${maxBatch}.`,
      });
    });
  });

  test('a stop id ends a text with it, and is not shown to `finished`', async () => {
    const steps = sda.runs['sigma_0.01']!.steps.map(({ id }) => id);
    const stop = steps[3]!;
    const end = steps.indexOf(stop);
    const shown: number[] = [];
    const { ids, events } = await run(model, [queryOf(pair)], {
      ...optionsOf({ greedy: true }),
      stopIds: new Set([stop, 130]),
      finished: (_, { id }) => {
        shown.push(id);
        return false;
      },
    });
    expect(ids[0]).toEqual(steps.slice(0, end + 1));
    expect(events[0]!.at(-1)!.finishReason).toBe('stop');
    expect(shown).toEqual(steps.slice(0, end));
  });

  test('`finished` ends a query after its token', async () => {
    const { ids, events } = await run(model, [queryOf(pair), queryOf(pair)], {
      ...optionsOf({ greedy: true }),
      finished: (query) => query === 1,
    });
    expect(ids.map((list) => list.length)).toEqual([16, 1]);
    expect(events[1]![0]!.finishReason).toBe('stop');
  });

  test('a text ends where the context is full', async () => {
    const longest = sda.instructed.length;
    const { ids, events } = await run(
      model,
      [queryOf(pair, { maxTokens: 50 })],
      optionsOf({ greedy: true }, { maxContext: longest + 5 }),
    );
    expect(ids[0]).toEqual(sda.runs['sigma_0.01']!.steps.slice(0, 5).map(({ id }) => id));
    expect(events[0]!.at(-1)!.finishReason).toBe('context');
    const full = await run(
      model,
      [queryOf(pair, { maxTokens: 200 })],
      optionsOf({ greedy: true }, { maxContext: MAX_CONTEXT }),
    );
    expect(full.ids[0]).toHaveLength(MAX_CONTEXT - longest);
  });

  test('masked ids are never drawn', async () => {
    const bias = Array.from({ length: V }, (_, id) =>
      id % 2 === 0 ? Number.NEGATIVE_INFINITY : 0,
    );
    const logitBias = tensor1d(bias);
    const query = queryOf(pair, { maxTokens: 40 });
    const { ids } = await run(model, [query], optionsOf(SAMPLED, { logitBias }));
    logitBias.dispose();
    expect(ids[0]!.filter((id) => id % 2 === 0)).toEqual([]);
  });

  test('200 steps leak nothing, and hold the same number of tensors from step to step', async () => {
    const roomy = {
      weights: model.weights,
      config: { ...model.config, maxPositionEmbeddings: 512 },
    };
    await expectNoLeak(async () => {
      const counts: number[] = [];
      const options = optionsOf(SAMPLED, {
        maxContext: 512,
        finished: () => {
          counts.push(memory().numTensors);
          return false;
        },
      });
      await run(roomy, [queryOf(pair, { maxTokens: 200 })], options);
      expect(counts).toHaveLength(200);
      if (readBehind) counts.pop(); // at the last token no step is ahead
      expect(new Set(counts).size).toBe(1);
    });
  });

  test('an abort ends the running queries and leaves nothing', async () => {
    await expectNoLeak(async () => {
      const controller = new AbortController();
      const { ids, events } = await run(model, [queryOf(pair), queryOf(pair, { maxTokens: 2 })], {
        ...optionsOf({ greedy: true }),
        signal: controller.signal,
        finished: (query, { id }) => {
          if (query === 0 && id === sda.runs['sigma_0.01']!.steps[4]!.id) controller.abort();
          return false;
        },
      });
      const at = sda.runs['sigma_0.01']!.steps.findIndex(
        ({ id }) => id === sda.runs['sigma_0.01']!.steps[4]!.id,
      );
      expect(ids[0]).toHaveLength(at + 1);
      expect(events[0]!.at(-1)!.finishReason).toBeNull();
    });
  });

  test('an abort before the first step yields nothing and leaves nothing', async () => {
    await expectNoLeak(async () => {
      const signal = AbortSignal.abort();
      const { ids } = await run(model, [queryOf(pair)], optionsOf({}, { signal }));
      expect(ids).toEqual([[]]);
    });
  });

  test('an early return leaves nothing', async () => {
    await expectNoLeak(async () => {
      for await (const events of decode(model, [queryOf(pair)], optionsOf({}))) {
        expect(events).toHaveLength(1);
        break;
      }
    });
  });

  test('an error of the rule comes through and leaves nothing', async () => {
    const failure = new Error('the rule failed');
    let calls = 0;
    const own = sdaRule(resolveSettings());
    const rule: SdaStep = async (logits: Tensor2D, draws) => {
      if (++calls === 3) throw failure;
      return own(logits, draws);
    };
    const error = await expectNoLeak(() =>
      errorOf(() => run(model, [queryOf(pair)], optionsOf({}, { rule }))),
    );
    expect(error).toBe(failure);
  });

  test('a rule that throws before it gives a promise is told the same way', async () => {
    const rule: SdaStep = () => {
      throw new SdaError('bad-logits', 'the rule met a NaN.');
    };
    const error = await expectNoLeak(() =>
      errorOf(() => run(model, [queryOf(pair)], optionsOf({}, { rule }))),
    );
    expect(error).toMatchObject({
      code: 'bad-logits',
      message: 'At step 0, the rule met a NaN; the hidden states are finite after all 2 layers.',
    });
  });

  test('unusable logits name step, stream, query and token', async () => {
    let calls = 0;
    const own = sdaRule(resolveSettings({ greedy: true }));
    const rule: SdaStep = async (logits, draws) => {
      if (++calls < 3) return own(logits, draws);
      const values = logits.dataSync().slice();
      values[3 * V + 17] = Number.NaN;
      const { tensor2d } = await import('@tensorflow/tfjs-core');
      const damaged = tensor2d(values, [4, V]);
      try {
        return await own(damaged, draws);
      } finally {
        damaged.dispose();
      }
    };
    const error = await expectNoLeak(() =>
      errorOf(() => run(model, [queryOf(pair), queryOf(pair)], optionsOf({}, { rule }))),
    );
    expect(error).toMatchObject({
      code: 'bad-logits',
      message:
        'At step 2, the logit of token 17 is NaN or infinite in the instructed stream of query 1: the weights are damaged or the model overflows; check the file, or load it with float32; the hidden states are finite after all 2 layers.',
    });
  });

  test.each<[string, Streams[], string, string]>([
    ['no query', [], 'bad-input', 'There is no query to decode: give at least one.'],
    [
      'a mixture',
      [[[1]], [[1], [2]]],
      'bad-input',
      'A batch must have one prompt for every query or two for every query, not a mixture.',
    ],
    [
      'an empty prompt',
      [[[1], []]],
      'bad-input',
      'The instructed prompt has no token: give it at least one.',
    ],
    [
      'an id out of the vocabulary',
      [[[V], [1]]],
      'bad-input',
      `The base prompt holds the token id ${V}, but this model's ids are 0..${V - 1}.`,
    ],
    [
      'a prompt without room',
      [[[1], forced.ids.concat(...Array(7).fill(forced.ids))]],
      'context-exceeded',
      'The instructed prompt has 128 tokens, but the context holds 128 and a new token needs one: shorten the prompt.',
    ],
  ])('refuses %s', async (_, streams, code, message) => {
    const queries = streams.map((each) => queryOf(each));
    const error = await expectNoLeak(() => errorOf(() => run(model, queries, optionsOf({}))));
    expect(error).toMatchObject({ code, message });
  });
});
