import { memory, type Tensor, type Tensor2D, tensor1d, tidy } from '@tensorflow/tfjs-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type DecodeOptions, decode, type Query } from '../../src/decode/generate.js';
import { drawBlend } from '../../src/method/blend.js';
import type { Choice, StepRule } from '../../src/method/rule.js';
import type { Tap } from '../../src/method/taps.js';
import { type DecoderModel, forward } from '../../src/model/decoder.js';
import { type LoadedDecoder, loadDecoder } from '../../src/model/load-model.js';
import { toFloat32 } from '../../src/runtime/device-tensors.js';
import { hasNativeKernel } from '../../src/runtime/native.js';
import { batchOf, checkpointDir } from '../support/checkpoints.js';
import { expectClose } from '../support/close.js';
import { cacheOf } from '../support/steps.js';
import { errorOf, expectNoLeak, useTensorFlow, valuesOf } from '../support/tensorflow.js';
import { TOLERANCE } from '../support/tolerances.js';

useTensorFlow();

let model: LoadedDecoder;
let other: LoadedDecoder;
beforeAll(async () => {
  model = await loadDecoder(checkpointDir('tiny-llama'));
  other = await loadDecoder(checkpointDir('tiny-qwen3'));
});
afterAll(() => {
  model.dispose();
  other.dispose();
});

const NAMES = ['plain', 'context'] as const;
type Settings = readonly Tap[];

/** What a rule read for one query in one step. */
interface Reading {
  readonly query: number;
  readonly values: readonly number[][];
}

/** Draws from the context, and notes all that its taps read. */
function reading(seen: Reading[], fails = (_step: number) => false): StepRule<Settings> {
  let step = 0;
  const rule: StepRule<Settings> = (logits, draws) => {
    if (fails(step++)) throw new Error('it fails');
    draws.tapped?.taps.forEach((taps, line) => {
      const values = taps.map((tap) => {
        const tensor = draws.tapped!.read(tap);
        const width = tensor.shape[1];
        return Array.from(tensor.dataSync().slice(line * width, (line + 1) * width));
      });
      seen.push({ query: draws.queries![line]!, values });
    });
    const blend = {
      anchor: 'context',
      weights: { plain: -0.3 },
      temperature: { t0: 0.8 },
      cuts: { topK: 0, topP: 0.9, minP: 0 },
      greedy: false,
    } as const;
    return drawBlend(
      logits,
      NAMES,
      draws.settings.map(() => blend),
      draws,
    );
  };
  return Object.assign(rule, { taps: (settings: Settings) => settings });
}

const tap = (stream: number, after: number, of: Tap['of']): Tap => ({ stream, after, of });

function queriesOf(count: number): Query<Settings>[] {
  return Array.from({ length: count }, (_, i) => ({
    streams: [
      [5, 6, 7 + i],
      [5, 6, 7 + i, 30, 31],
    ],
    settings: [
      [],
      [tap(0, 0, 'hidden'), tap(1, 2, 'logits')],
      [tap(1, 1, 'head'), tap(0, 1, 'logits'), tap(1, 1, 'hidden')],
    ][i % 3]!,
    seed: i,
    maxTokens: 3 + (i % 4),
  }));
}

const stopIds = new Set<number>();

async function run(
  queries: readonly Query<Settings>[],
  rule: StepRule<Settings>,
  more: Partial<DecodeOptions<Settings, Choice>> = {},
) {
  const ids: number[][] = queries.map(() => []);
  const options = { streams: NAMES, stopIds, maxContext: 64, ...more, rule };
  for await (const events of decode(model, queries, options)) {
    for (const { query, choice } of events) ids[query]!.push(choice.id);
  }
  return ids;
}

/** What taps read after all of `ids`, from a pass over the whole text that hands out every layer. */
function expectedOf(runs: DecoderModel, ids: readonly number[], { after, of }: Tap): number[] {
  const cache = cacheOf(runs, 1);
  let state: number[] = [];
  const { numLayers, hiddenSize } = runs.config;
  const last = (x: Tensor2D) => {
    state = Array.from(x.dataSync().slice(-hiddenSize));
  };
  const logits = forward(runs, batchOf([[...ids]], [0]), cache, {
    logits: 'last',
    onLayer: (layer, x) => {
      if (layer === after - 1) last(x);
    },
  })!;
  const all = valuesOf(logits);
  cache.dispose();
  if (after === 0) {
    const table = widened(runs.weights.embedTokens);
    const id = ids.at(-1)!;
    state = Array.from(table.slice(id * hiddenSize, (id + 1) * hiddenSize));
  }
  if (of === 'hidden') return state;
  if (of === 'logits' && after === numLayers) return all;
  return headOf(runs, state, of === 'logits');
}

/** Weights as float32, whatever they are stored in. */
const widened = (weights: Tensor) => valuesOf(tidy(() => toFloat32(weights).clone()));

/** Float64: the last norm, where it is asked for, and the head's matrix. */
function headOf({ config, weights }: DecoderModel, state: readonly number[], norm: boolean) {
  const K = state.length;
  const scale = 1 / Math.sqrt(state.reduce((sum, x) => sum + x * x, 0) / K + config.rmsNormEps);
  const gains = widened(weights.norm);
  const x = state.map((value, i) => (norm ? value * scale * gains[i]! : value));
  const matrix = widened(weights.lmHead);
  return Array.from({ length: config.vocabSize }, (_, id) =>
    x.reduce((sum, value, i) => sum + value * matrix[id * K + i]!, 0),
  );
}

function expectReadings(
  seen: readonly Reading[],
  queries: readonly Query<Settings>[],
  ids: readonly number[][],
  modelOf: (stream: number) => DecoderModel = () => model,
): void {
  queries.forEach(({ streams, settings }, query) => {
    const steps = seen.filter((each) => each.query === query).slice(0, ids[query]!.length);
    expect(steps).toHaveLength(settings.length > 0 || steps.length > 0 ? ids[query]!.length : 0);
    steps.forEach(({ values }, step) => {
      settings.forEach((each, index) => {
        const text = [...streams[each.stream]!, ...ids[query]!.slice(0, step)];
        const expected = expectedOf(modelOf(each.stream), text, each).slice(
          0,
          values[index]!.length,
        );
        expectClose(values[index]!, expected, TOLERANCE.sameModel);
      });
    });
  });
}

describe('what a rule reads inside its model', () => {
  test('is that of its own rows in each step, in any batch, read behind or not', async () => {
    const queries = queriesOf(7);
    const seen: Reading[] = [];
    const ids = await expectNoLeak(() => run(queries, reading(seen)));
    expectReadings(seen, queries, ids);
    for (const maxBatch of [1, 2, 3]) {
      for (const readBehind of [false, true]) {
        const found: Reading[] = [];
        const options = { maxBatch, readBehind };
        expect(await expectNoLeak(() => run(queries, reading(found), options))).toEqual(ids);
        for (const query of queries.keys()) {
          const of = (list: Reading[]) => list.filter((each) => each.query === query);
          const values = (list: Reading[]) =>
            of(list)
              .slice(0, ids[query]!.length)
              .flatMap((each) => each.values.flat());
          if (hasNativeKernel('SdaLinear')) expect(values(found)).toEqual(values(seen));
          else expectClose(values(found), values(seen), TOLERANCE.sameModel);
        }
      }
    }
  });

  test('changes no bit of the texts', async () => {
    const queries = queriesOf(4);
    const { taps: _, ...none } = reading([]);
    const untapped = Object.assign(
      ((logits, draws) => reading([])(logits, draws)) as StepRule<Settings>,
      none,
    );
    expect(await run(queries, reading([]))).toEqual(await run(queries, untapped));
    const texts = async (rule: StepRule<Settings>) => {
      const found: unknown[] = [];
      const options = { streams: NAMES, stopIds, maxContext: 64, rule };
      for await (const events of decode(model, queries, options)) {
        found.push(...events.map(({ query, choice }) => [query, choice]));
      }
      return found;
    };
    expect(await texts(reading([]))).toEqual(await texts(untapped));
  });

  test('after all layers has the logits of the step, to the bit, through the norm', async () => {
    const N = model.config.numLayers;
    let equal = 0;
    const own = reading([]);
    const rule: StepRule<Settings> = (logits, draws) => {
      const read = draws.tapped!.read(tap(1, N, 'logits'));
      const V = logits.shape[1];
      const all = logits.dataSync();
      expect([...read.dataSync()]).toEqual([...all.slice(V, 2 * V)]);
      equal++;
      return own(logits, draws);
    };
    const taps = () => [tap(1, N, 'logits')];
    await run(queriesOf(1), Object.assign(rule, { taps }));
    expect(equal).toBe(3);
  });

  test('is that of the model that runs the stream', async () => {
    const queries = queriesOf(5).map((query) => ({
      ...query,
      settings: [tap(0, 1, 'hidden'), tap(1, 0, 'logits'), tap(1, 2, 'head'), tap(1, 1, 'hidden')],
    }));
    const models = { context: other };
    expect(other.config.vocabSize).not.toBe(model.config.vocabSize);
    const seen: Reading[] = [];
    const ids = await expectNoLeak(() => run(queries, reading(seen), { models, maxBatch: 2 }));
    expectReadings(seen, queries, ids, (stream) => (stream === 0 ? model : other));
  });

  test('has the bias of ids that no token has', async () => {
    const V = model.config.vocabSize;
    const logitBias = tensor1d(
      Float32Array.from({ length: V }, (_, id) => (id % 2 ? Number.NEGATIVE_INFINITY : 0)),
    );
    const seen: Reading[] = [];
    await run(queriesOf(3).slice(2), reading(seen), { logitBias });
    logitBias.dispose();
    const [head, logits, hidden] = seen[0]!.values as [number[], number[], number[]];
    for (const line of [head, logits]) {
      line.forEach((value, id) => {
        expect(value === Number.NEGATIVE_INFINITY).toBe(id % 2 === 1);
      });
    }
    expect(hidden.every(Number.isFinite)).toBe(true);
  });
});

describe('nothing that was read is left', () => {
  test('after an error of the rule, an abort, and a reader that leaves', async () => {
    const queries = queriesOf(4);
    for (const at of [0, 2]) {
      const failing = reading([], (step) => step === at);
      const error = await expectNoLeak(() => errorOf(() => run(queries, failing)));
      expect(error).toMatchObject({ message: 'it fails' });
    }
    const controller = new AbortController();
    const stopping = reading([], (step) => {
      if (step === 1) controller.abort();
      return false;
    });
    await expectNoLeak(() => run(queries, stopping, { signal: controller.signal }));
    await expectNoLeak(async () => {
      const rule = reading([]);
      for await (const _ of decode(model, queries, {
        streams: NAMES,
        stopIds,
        maxContext: 64,
        rule,
      }))
        break;
    });
  });

  test('within a step: as many tensors as without taps from one step to the next', async () => {
    const counts: number[] = [];
    const own = reading([]);
    const rule: StepRule<Settings> = (logits, draws) => {
      counts.push(memory().numTensors);
      return own(logits, draws);
    };
    const [, query] = queriesOf(2);
    await run([{ ...query!, maxTokens: 5 }], Object.assign(rule, { taps: own.taps! }));
    expect(new Set(counts.slice(1)).size).toBe(1);
  });
});

test.each<[string, Tap, RegExp]>([
  [
    'a layer that is not there',
    tap(1, 9, 'hidden'),
    /context after 9 layers, but its model has \d/,
  ],
  ['half a layer', tap(0, 0.5, 'hidden'), /plain after 0\.5 layers/],
  ['a stream that is not there', tap(2, 0, 'hidden'), /stream 2, but the streams are 0\.\.1/],
  [
    'something else',
    tap(0, 0, 'norm' as 'head'),
    /of "norm", but must be of hidden, logits or head/,
  ],
])('%s is refused before anything runs', async (_, wrong, message) => {
  const queries = queriesOf(2).map((query) => ({ ...query, settings: [wrong] }));
  const error = await expectNoLeak(() => errorOf(() => run(queries, reading([]))));
  expect(error).toMatchObject({ code: 'bad-input', message: expect.stringMatching(message) });
});
