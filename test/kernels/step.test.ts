import { tensor1d, tensor2d } from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { beforeEach, describe, expect, test } from 'vitest';
import {
  STEP_STATS,
  type StepKinds,
  step,
  stepDetails,
  stepNumbers,
} from '../../kernels/step/index.js';
import { expectClose, expectNear } from '../support/close.js';
import { WITHOUT_NATIVE } from '../support/native.js';
import { Random } from '../support/random.js';
import {
  check,
  hardCases,
  native,
  randomQuery,
  reference,
  type StepFound,
} from '../support/step-queries.js';
import { errorOf, expectNoLeak, useTensorFlow } from '../support/tensorflow.js';
import { TOLERANCE } from '../support/tolerances.js';

useTensorFlow();

const { NaN: nan, POSITIVE_INFINITY: inf, NEGATIVE_INFINITY: masked } = Number;

const masks = ['none', 'plausible', 'least'] as const;
const temperatures = ['fixed', 'divergence', 'entropy'] as const;

describe.each([1, 2, 3, 5, 8])('step has the float64 results, S = %i', (S) => {
  const random = new Random(S);
  for (const weights of ['fixed', 'js'] as const) {
    for (const mask of masks) {
      for (const temperature of temperatures) {
        test(`weights ${weights}, mask ${mask}, temperature ${temperature}`, async () => {
          for (const V of [1, 7, 1000]) {
            const [anchor, maskStream] = [V % S, (V + 1) % S];
            const kinds = {
              anchor,
              pair: [S - 1, 0],
              weights,
              mask,
              maskStream,
              temperature,
            } as const;
            const queries = [0, 1].map(() => randomQuery(random, S, V, maskStream));
            await expectNoLeak(() => check(queries, kinds));
            await expectNoLeak(() => check(queries, { ...kinds, details: true }));
          }
        });
      }
    }
  }
});

test.each([2, 3])('step has the float64 results, V = 151,936, S = %i', async (S) => {
  const random = new Random(7);
  const kinds = { anchor: 0, pair: [0, 1], mask: 'plausible', details: true } as const;
  const queries = [randomQuery(random, S, 151_936, 0)];
  await expectNoLeak(() => check(queries, { ...kinds, temperature: 'divergence' }));
});

test.each([
  ['by itself', [0, -6.09375]],
  ['by its terms', [-1.09375, -1.109375, -1.09375]],
  ['with one token', [0]],
])('a log Z near 0 %s has the error of the sum, as any other', (_, line) => {
  const numbers = { weights: [0], t0: 0.6 };
  check([{ streams: [line], numbers }], { anchor: 0, pair: [0, 0], details: true });
});

describe('impossible tokens', () => {
  const random = new Random(11);
  const kinds = { anchor: 1, pair: [0, 1], details: true } as const;

  test.each([0, 1, 2])('-Infinity in stream %i', (stream) => {
    for (const sign of [1, -1]) {
      const query = randomQuery(random, 3, 50, 0);
      query.streams[stream]!.forEach((_, token) => {
        if (token % 3 === 0) (query.streams[stream] as number[])[token] = masked;
      });
      const weights = [0.8 * sign, 0, 0.5 * sign];
      check([{ ...query, numbers: { ...query.numbers, weights } }], kinds);
    }
  });

  test('all but one token, the same and another one', () => {
    const only = (token: number) => [0, 1, 2, 3].map((id) => (id === token ? 1.5 : masked));
    const numbers = { weights: [-0.5, 0], t0: 0.7 };
    check([{ streams: [only(2), only(2)], numbers }], kinds);
    check([{ streams: [only(0), only(2)], numbers }], kinds);
  });

  test('what is impossible in a stream of positive weight stays so, but for a floor', () => {
    const streams = [
      [masked, 0, 1],
      [2, 1, 0],
    ];
    const numbers = { weights: [0.1, 0] };
    const [[strict], [floored]] = [numbers, { ...numbers, positiveFloor: -20 }].map((each) =>
      native([{ streams, numbers: each }], kinds),
    ) as [[StepFound], [StepFound]];
    expect(strict.logProbs[0]).toBe(masked);
    expect(floored.logProbs[0]).toBeGreaterThan(-10);
  });
});

describe('step, natively,', () => {
  beforeEach(({ skip }) => skip(...WITHOUT_NATIVE));
  const bits = (values: number[]) => [...new Int32Array(Float32Array.from(values).buffer)];

  test('with weights of 0 is plain decoding of the anchor to the bit', () => {
    const random = new Random(3);
    for (const [S, anchor] of [
      [2, 0],
      [2, 1],
      [5, 3],
    ] as const) {
      const query = randomQuery(random, S, 3000, 0);
      const numbers = { t0: 0.7, weights: query.streams.map(() => 0) };
      const alone = { streams: [query.streams[anchor]!], numbers: { t0: 0.7, weights: [0] } };
      const [found] = native([{ ...query, numbers }], { anchor, pair: [0, 1] });
      const [plain] = native([alone], { anchor: 0, pair: [0, 0] });
      expect(bits(found!.logProbs)).toEqual(bits(plain!.logProbs));
    }
  });

  test('does not depend on the order of the other streams beyond rounding', () => {
    const query = randomQuery(new Random(4), 5, 1000, 0);
    const order = [0, 3, 4, 2, 1];
    const turned = {
      streams: order.map((s) => query.streams[s]!),
      numbers: { ...query.numbers, weights: order.map((s) => query.numbers.weights[s]!) },
    };
    const kinds = { anchor: 0, pair: [0, 0] } as const;
    const [[one], [other]] = [native([query], kinds), native([turned], kinds)];
    expectClose(other!.logProbs, one!.logProbs, TOLERANCE.kernel);
  });

  test('says of a query in a batch what it says of it alone, to the bit', () => {
    const random = new Random(5);
    for (const S of [1, 2, 8]) {
      const kinds = { anchor: 0, pair: [0, S - 1], mask: 'least', maskStream: S - 1 } as const;
      for (const temperature of temperatures) {
        const all = { ...kinds, temperature, weights: 'js', details: true } as const;
        const queries = [0, 1, 2].map(() => randomQuery(random, S, 5000, S - 1));
        const batch = native(queries, all);
        for (const [q, query] of queries.entries()) {
          const [alone] = native([query], all);
          expect(bits(alone!.logProbs)).toEqual(bits(batch[q]!.logProbs));
          expect(bits(alone!.stats)).toEqual(bits(batch[q]!.stats));
        }
      }
    }
  });

  test('has the same bits with and without details', () => {
    const query = randomQuery(new Random(6), 3, 5000, 0);
    const kinds = { anchor: 0, pair: [0, 1], temperature: 'divergence' } as const;
    const [[plain], [more]] = [
      native([query], kinds),
      native([query], { ...kinds, details: true }),
    ];
    expect(bits(more!.logProbs)).toEqual(bits(plain!.logProbs));
    expect(bits(more!.stats.slice(0, plain!.stats.length))).toEqual(bits(plain!.stats));
  });

  test('has a divergence of exactly 0 for equal streams and ties at equal places', () => {
    const line = [1, 3, 3, 2, 3];
    const numbers = { weights: [0, 0.5, -0.5] };
    const [found] = native([{ streams: [line, line, line], numbers }], {
      anchor: 0,
      pair: [0, 1],
      details: true,
    });
    expect(found!.stats[STEP_STATS.js]).toBe(0);
    expectNear(found!.stats[stepDetails(3).generalJs]!, 0, TOLERANCE.js);
    expect(new Set([1, 2, 4].map((token) => found!.logProbs[token])).size).toBe(1);
  });

  test('agrees with float64 on random cases', () => {
    fc.assert(
      fc.property(hardCases, ({ streams, weights, kinds, least }) => {
        const numbers = { weights, t0: 0.6, sigma: 0.5, tMin: 0.2 };
        check([{ streams, numbers, least }], kinds as StepKinds);
      }),
      { numRuns: 150 },
    );
  });
});

describe('step marks what it cannot use', () => {
  const kinds = { anchor: 1, pair: [0, 1], details: true } as const;
  const numbers = { weights: [-0.4, 0, 0.2], t0: 0.6 };
  const sound = [1, 2, 0];
  test.each([
    ['NaN in the first stream', [[0, nan, nan], sound, sound], [0, 1]],
    ['+Infinity in the last', [sound, sound, [0, 1, inf]], [2, 2]],
    ['two streams', [sound, [nan, 0, 0], [nan, 0, 0]], [1, 0]],
    ['nothing finite', [sound, [masked, masked, masked], sound], [1, -1]],
    ['nothing finite, and NaN', [[masked, masked, nan], sound, sound], [0, 2]],
    ['no token in common', [sound, [0, masked, masked], [masked, 0, 0]], [3, -1]],
  ])('%s', (_, streams, expected) => {
    for (const form of [native, reference]) {
      const [found, other] = form(
        [
          { streams, numbers },
          { streams: [sound, sound, sound], numbers },
        ],
        kinds,
      );
      expect(found!.stats.slice(STEP_STATS.badStream, STEP_STATS.logZ)).toEqual(expected);
      expect(other!.stats[STEP_STATS.badStream]).toBe(-1);
    }
  });

  test('a NaN at the very end of a large vocabulary', () => {
    const V = 151_936;
    const query = randomQuery(new Random(9), 2, V, 0);
    (query.streams[1] as number[])[V - 1] = nan;
    const [found] = native([query], { anchor: 1, pair: [0, 1] });
    expect(found!.stats.slice(STEP_STATS.badStream, STEP_STATS.logZ)).toEqual([1, V - 1]);
  });

  test('weights that overflow in both directions', () => {
    const streams = [
      [0, 0],
      [1e38, -1e38],
      [1e38, -1e38],
    ];
    const [found] = native([{ streams, numbers: { weights: [0, 3e38, -3e38] } }], {
      anchor: 0,
      pair: [0, 1],
    });
    expect(found!.logProbs.some(Number.isNaN)).toBe(false);
  });
});

describe('step refuses', () => {
  const kinds = { anchor: 0, pair: [0, 1] } as const;
  const logits = () => tensor2d(new Float32Array(20), [4, 5]);
  const two = { weights: [0, 1] };

  test.each([
    [
      'logits of another number of streams',
      { rows: 1 },
      'step: logits must have the shape [2, any], but has [4, 5].',
    ],
    [
      'too many columns',
      { rows: 2, columns: 18 },
      'step: numbers must have 9 columns and one for each of 1 to 8 streams, but have 18.',
    ],
    [
      'a stream that is not there',
      { rows: 2, kinds: { anchor: 2 } },
      'step: anchor, pair and maskStream must be streams, 0 to 1, but one is 2.',
    ],
    [
      'a mask without its logits',
      { rows: 2, kinds: { mask: 'least' } as const },
      'step: the mask "least" needs the tensor least, [B].',
    ],
  ])(
    '%s',
    async (_, wrong: { rows: number; columns?: number; kinds?: Partial<StepKinds> }, message) => {
      const { rows, columns = 11 } = wrong;
      const tensors = {
        logits: logits(),
        numbers: tensor2d(new Float32Array(rows * columns), [rows, columns]),
      };
      const error = await errorOf(() => step({ ...tensors, ...kinds, ...wrong.kinds }));
      expect(error).toMatchObject({ message });
      for (const tensor of Object.values(tensors)) tensor.dispose();
    },
  );

  test('a least logit of another number of queries', async () => {
    const tensors = {
      logits: logits(),
      numbers: tensor2d(stepNumbers([two, two], 2), [2, 11]),
      least: tensor1d([0]),
    };
    const error = await errorOf(() => step({ ...tensors, ...kinds, mask: 'least' }));
    expect(error).toMatchObject({ message: 'step: least must have the shape [2], but has [1].' });
    for (const tensor of Object.values(tensors)) tensor.dispose();
  });

  test.each([
    [{ ...two, t0: 0 }, 't0 of query 1 must be a number above 0, but is 0'],
    [{ ...two, alpha: 1.5 }, 'alpha of query 1 must be a number in 0..1, but is 1.5'],
    [
      { ...two, entropyBase: 2 },
      'entropyBase of query 1 must be a number above 0 and at most 1, but is 2',
    ],
    [{ ...two, total: nan }, 'total of query 1 must be a finite number, but is NaN'],
    [{ weights: [0, 1e39] }, 'weights[1] of query 1 must be a finite number, but is 1e+39'],
    [{ weights: [0] }, 'query 1 must have a weight for each of 2 streams, but has 1'],
  ])('numbers out of their range: %j', async (wrong, message) => {
    const error = await errorOf(() => stepNumbers([two, wrong], 2));
    expect(error).toMatchObject({ code: 'bad-input', message: `step: ${message}.` });
  });
});
