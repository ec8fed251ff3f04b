import { tensor2d } from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { STEP_STATS } from '../../kernels/step/index.js';
import { conformanceStep } from '../../src/method/conformance.js';
import { readDraw } from '../../src/method/rule.js';
import { resolveSettings, type SdaSettings } from '../../src/method/settings.js';
import { sdaDistribution, sdaRule } from '../../src/method/step.js';
import modes from '../fixtures/method/step.json' with { type: 'json' };
import fixture from '../fixtures/sda_step.json' with { type: 'json' };
import { expectNear } from '../support/close.js';
import { errorOf, expectNoLeak, useTensorFlow } from '../support/tensorflow.js';
import { TOLERANCE } from '../support/tolerances.js';

useTensorFlow();

const MASKED = Number.NEGATIVE_INFINITY;

interface Step {
  readonly js: number;
  readonly temperature: number;
  readonly logProbs: number[];
}

/** One step of one query, by the package's own kernels. */
function run(
  base: readonly number[],
  instructed: readonly number[],
  partial: Partial<SdaSettings> = {},
): Step {
  const settings = resolveSettings(partial);
  const logits = tensor2d([...base, ...instructed], [2, base.length], 'float32');
  const { logProbs, stats } = sdaDistribution(logits, settings, [settings.amplification]);
  const [line, values] = [logProbs.dataSync(), stats.dataSync()];
  for (const tensor of [logits, logProbs, stats]) tensor.dispose();
  return {
    js: values[STEP_STATS.js]!,
    temperature: values[STEP_STATS.temperature]!,
    logProbs: [...line],
  };
}

const probsOf = ({ logProbs }: Step) => logProbs.map(Math.exp);
const sumOf = (values: readonly number[]) => values.reduce((a, b) => a + b, 0);
const numbers = (values: readonly (number | string)[]) => values.map(Number);

/** Draws once from one query's streams. */
async function draw(base: number[], instructed: number[], partial: Partial<SdaSettings>, u = 0.5) {
  const settings = resolveSettings(partial);
  const logits = tensor2d([...base, ...instructed], [2, base.length], 'float32');
  try {
    const draws = { settings: [{}], uniforms: [u] };
    return (await readDraw(sdaRule(settings)(logits, draws)))[0]!;
  } finally {
    logits.dispose();
  }
}

describe('float64 results', () => {
  test.each(fixture.cases.map((item) => [item.name, item] as const))('%s', async (_, item) => {
    const found = await expectNoLeak(() =>
      conformanceStep({ ...item, base: numbers(item.base), instructed: numbers(item.instructed) }),
    );
    expectNear(found.js, item.js, TOLERANCE.js);
    expectNear(found.temperature, item.temperature, TOLERANCE.js);
    expect(found.probs).toHaveLength(item.probs.length);
    item.probs.forEach((p, token) => {
      expectNear(found.probs[token]!, p, TOLERANCE.probability);
    });
  });

  for (const item of modes.cases) {
    const settings = item.settings as Partial<SdaSettings>;
    test(`${item.name} ${JSON.stringify(settings)}`, () => {
      const found = run(numbers(item.base), numbers(item.instructed), settings);
      expectNear(found.js, item.js, TOLERANCE.js);
      expectNear(found.temperature / item.temperature, 1, TOLERANCE.temperature);
      numbers(item.log_probs).forEach((expected, token) => {
        const scale = Math.max(1, Math.abs(expected));
        if (expected === MASKED) expect(found.logProbs[token]).toBe(MASKED);
        else expectNear(found.logProbs[token]!, expected, TOLERANCE.logProb * scale);
      });
    });
  }
});

const logit = fc.float({ min: -10, max: 10, noNaN: true });
const streams = fc
  .integer({ min: 1, max: 40 })
  .chain((size) =>
    fc.tuple(
      fc.array(logit, { minLength: size, maxLength: size }),
      fc.array(logit, { minLength: size, maxLength: size }),
    ),
  );
const settings = fc.record({
  mode: fc.constantFrom('sda', 'steering', 'scaling', 'instructed', 'base'),
  amplification: fc.float({ min: -1, max: 1, noNaN: true }),
  sigma: fc.constantFrom(0.01, 0.3, 2 * Math.LN2),
  tMin: fc.constantFrom(0.2, 0.5),
});

/** Of a property: each run takes dozens of TensorFlow operations. */
const RUNS = { numRuns: 40 };

describe('properties', () => {
  test('sums to 1, JS in 0..ln 2, T at least tMin where it is scaled', () => {
    fc.assert(
      fc.property(streams, settings, ([base, instructed], partial) => {
        const step = run(base, instructed, partial as Partial<SdaSettings>);
        expectNear(sumOf(probsOf(step)), 1, TOLERANCE.sum);
        expect(step.js).toBeGreaterThanOrEqual(0);
        expect(step.js).toBeLessThanOrEqual(Math.fround(Math.LN2));
        const scales = partial.mode === 'sda' || partial.mode === 'scaling';
        if (scales) {
          expect(step.temperature).toBeGreaterThanOrEqual(Math.fround(partial.tMin));
          expect(step.temperature).toBeLessThanOrEqual(Math.fround(0.6));
        } else {
          expect(step.temperature).toBe(Math.fround(0.6));
        }
      }),
      RUNS,
    );
  });

  test('offsets of either stream change nothing beyond rounding', () => {
    // whole numbers: adding them to multiples of 1/64 is exact in float32
    const exact = fc.integer({ min: -640, max: 640 }).map((n) => n / 64);
    const pair = fc.array(fc.tuple(exact, exact), { minLength: 1, maxLength: 40 });
    const offset = fc.integer({ min: -10_000, max: 10_000 });
    fc.assert(
      fc.property(pair, offset, offset, (logits, first, second) => {
        const plain = run(
          logits.map(([base]) => base),
          logits.map(([, instructed]) => instructed),
          { sigma: 1 },
        );
        const moved = run(
          logits.map(([base]) => base + first),
          logits.map(([, instructed]) => instructed + second),
          { sigma: 1 },
        );
        expectNear(moved.js, plain.js, TOLERANCE.js);
        plain.logProbs.forEach((value, token) => {
          const scale = Math.max(1, Math.abs(value));
          expectNear(moved.logProbs[token]!, value, TOLERANCE.logProb * scale);
        });
      }),
      RUNS,
    );
  });

  test('identical streams have a divergence of exactly 0 and T exactly T0', () => {
    const t0 = fc.float({ min: Math.fround(0.2), max: 2, noNaN: true });
    fc.assert(
      fc.property(streams, t0, ([base], temperature) => {
        const step = run(base, base, { t0: temperature, tMin: 0.1 });
        expect(step.js).toBe(0);
        expect(step.temperature).toBe(temperature);
      }),
      RUNS,
    );
  });

  test('with a = 0 the base stream matters to T alone', () => {
    fc.assert(
      fc.property(streams, ([base, instructed]) => {
        const step = run(base, instructed, { amplification: 0, sigma: 0.3 });
        const plain = run(instructed, instructed, { t0: step.temperature, mode: 'instructed' });
        step.logProbs.forEach((value, token) => {
          expectNear(value, plain.logProbs[token]!, TOLERANCE.logProb * Math.max(1, -value));
        });
      }),
      RUNS,
    );
  });

  test('the modes are the ablations of sda', () => {
    fc.assert(
      fc.property(streams, ([base, instructed]) => {
        const same = (a: Step, b: Step) => expect(a.logProbs).toEqual(b.logProbs);
        const sda = { amplification: 0.4, sigma: 0.3 };
        same(
          run(base, instructed, { ...sda, mode: 'scaling' }),
          run(base, instructed, { ...sda, amplification: 0 }),
        );
        same(
          run(base, instructed, { ...sda, mode: 'steering' }),
          run(base, instructed, { ...sda, sigma: Number.POSITIVE_INFINITY }),
        );
        same(
          run(base, instructed, { ...sda, mode: 'base' }),
          run(instructed, base, { ...sda, mode: 'instructed' }),
        );
      }),
      RUNS,
    );
  });

  test('a token masked in P2 has no probability and is never drawn', async () => {
    const masks = fc.array(fc.boolean(), { minLength: 6, maxLength: 6 });
    const line = fc.array(logit, { minLength: 6, maxLength: 6 });
    const u = fc.float({ min: 0, max: 1, maxExcluded: true, noNaN: true });
    await fc.assert(
      fc.asyncProperty(line, line, masks, u, async (base, instructed, masked, uniform) => {
        fc.pre(!masked.every(Boolean));
        const hidden = instructed.map((value, token) => (masked[token] ? MASKED : value));
        const { logProbs } = run(base, hidden);
        masked.forEach((isMasked, token) => {
          if (isMasked) expect(logProbs[token]).toBe(MASKED);
          else expect(logProbs[token]).toBeGreaterThan(MASKED);
        });
        const { id } = await draw(base, hidden, { topP: 1 }, uniform);
        expect(masked[id]).toBe(false);
      }),
      RUNS,
    );
  });
});

describe('extremes', () => {
  test('disjoint supports have a divergence of ln 2', () => {
    const step = run([0, 1, MASKED, MASKED], [MASKED, MASKED, 2, 3], { sigma: 2 * Math.LN2 });
    expectNear(step.js, Math.LN2, TOLERANCE.js);
    expectNear(step.temperature, 0.6 * Math.SQRT1_2, TOLERANCE.temperature);
    expect(step.logProbs.slice(0, 2)).toEqual([MASKED, MASKED]);
    expectNear(sumOf(probsOf(step)), 1, TOLERANCE.sum);
  });

  test('a token masked in P1 alone is finite and preferred when steering towards P2', () => {
    const step = run([0, 1, MASKED], [0, 1, -3]);
    expect(step.logProbs.every(Number.isFinite)).toBe(true);
    expectNear(probsOf(step)[2]!, 1, TOLERANCE.probability);
    const away = run([0, 1, MASKED], [0, 1, -3], { amplification: -1 });
    expectNear(probsOf(away)[2]!, 0, TOLERANCE.probability);
    expectNear(sumOf(probsOf(away)), 1, TOLERANCE.sum);
  });

  test('logits of 1e4 give the same as small ones', () => {
    const small = run([1, 2, 3], [3, 1, 2], { sigma: 1 });
    const large = run([10_001, 10_002, 10_003], [-9_997, -9_999, -9_998], { sigma: 1 });
    expectNear(large.js, small.js, TOLERANCE.js);
    probsOf(large).forEach((p, token) => {
      expectNear(p, probsOf(small)[token]!, TOLERANCE.probability);
    });
    const apart = run([1e4, -1e4, 0], [-1e4, 1e4, 0]);
    expectNear(apart.js, Math.LN2, TOLERANCE.js);
    expectNear(probsOf(apart)[1]!, 1, TOLERANCE.probability);
  });

  test('a tMin of 0 with a tiny sigma leaves a distribution on the likeliest token', () => {
    const step = run([0, 5, 1], [5, 0, 1], { tMin: 0, sigma: 1e-5 });
    expectNear(step.temperature, 0, TOLERANCE.temperature);
    expectNear(probsOf(step)[0]!, 1, TOLERANCE.probability);
  });

  test('plausibility masks what P2 finds unlikely and keeps at least its likeliest', () => {
    const instructed = [Math.log(0.6), Math.log(0.31), Math.log(0.05), Math.log(0.04)];
    const base = [0, 0, 0, 9];
    const kept = (plausibility: number) =>
      run(base, instructed, { plausibility }).logProbs.map((value) => value > MASKED);
    expect(kept(0)).toEqual([true, true, true, true]);
    expect(kept(0.08)).toEqual([true, true, true, false]);
    expect(kept(0.5)).toEqual([true, true, false, false]);
    expect(kept(1)).toEqual([true, false, false, false]);
  });
});

describe('sdaRule', () => {
  test("reports the drawn token under P1, P2 and P'", async () => {
    const base = [Math.log(0.7), Math.log(0.2), Math.log(0.1)];
    const instructed = [Math.log(0.1), Math.log(0.3), Math.log(0.6)];
    const choice = await expectNoLeak(() => draw(base, instructed, { greedy: true, sigma: 1 }));
    expect(choice.id).toBe(2);
    expectNear(choice.logpBase, Math.log(0.1), TOLERANCE.logProb);
    expectNear(choice.logpInstructed, Math.log(0.6), TOLERANCE.logProb);
    const { js, temperature, logProbs } = run(base, instructed, { sigma: 1 });
    expect(choice).toMatchObject({ js, temperature, logp: logProbs[2] });
  });

  test('T0 = 0 is greedy and says a temperature of 0', async () => {
    for (const u of [0, 0.99]) {
      expect(await draw([2, 1, 0], [0, 1, 1.1], { t0: 0 }, u)).toMatchObject({
        id: 2,
        temperature: 0,
      });
    }
  });

  test('greedy takes the same token at any temperature, and the lowest id of equals', async () => {
    for (const t0 of [0.2, 0.6, 5]) {
      expect((await draw([0, 0, 0, 0], [1, 3, 3, 2], { greedy: true, t0 }, 0.99)).id).toBe(1);
    }
  });

  test('each query of a batch has its own strength, and the same choice as alone', async () => {
    const rows = [
      [1, 2, 3, 0],
      [3, 2, 1, 0],
      [0, 1, 0, 2],
      [2, 0, 1, 1],
    ];
    const amplifications = [0.9, -0.3];
    const uniforms = [0.2, 0.8];
    const logits = tensor2d(rows);
    const draws = {
      settings: amplifications.map((amplification) => ({ amplification })),
      uniforms,
    };
    const together = await readDraw(sdaRule(resolveSettings({ sigma: 1 }))(logits, draws));
    logits.dispose();
    expect(together).toHaveLength(2);
    for (const query of [0, 1]) {
      const alone = await draw(
        rows[2 * query]!,
        rows[2 * query + 1]!,
        { sigma: 1, amplification: amplifications[query]! },
        uniforms[query],
      );
      expect(together[query]!.id).toBe(alone.id);
      expectNear(together[query]!.logp, alone.logp, TOLERANCE.logProb);
    }
  });

  test('one stream a query is both: JS 0 and T = T0', async () => {
    const logits = tensor2d([[1, 2, 3]]);
    const draws = { settings: [{ amplification: 0.5 }], uniforms: [0.5] };
    const [choice] = await readDraw(sdaRule(resolveSettings({ greedy: true }))(logits, draws));
    logits.dispose();
    expect(choice).toMatchObject({ id: 2, js: 0, temperature: Math.fround(0.6) });
    expect(choice!.logpBase).toBe(choice!.logpInstructed);
  });

  const { NaN: nan, POSITIVE_INFINITY: infinity } = Number;
  test.each([
    ['NaN in the base stream', [0, nan, 1], [0, 1, 2], 'of token 1 is NaN or infinite in the base'],
    ['+Infinity', [0, 1, 2], [0, 1, infinity], 'of token 2 is NaN or infinite in the instructed'],
    ['both streams', [nan, 0, 0], [0, nan, 0], 'of token 0 is NaN or infinite in the base'],
    ['NaN first', [0, 0, 0], [0, nan, nan], 'of token 1 is NaN or infinite in the instructed'],
    [
      'nothing finite',
      [0, 0, 0],
      [MASKED, MASKED, MASKED],
      'row holds no finite value in the instructed',
    ],
    ['all NaN', [nan, nan, nan], [0, 0, 0], 'of token 0 is NaN or infinite in the base'],
  ])('unusable logits are named: %s', async (_, base, instructed, where) => {
    for (const greedy of [true, false]) {
      const error = await expectNoLeak(() => errorOf(() => draw(base, instructed, { greedy })));
      expect(error).toMatchObject({
        code: 'bad-logits',
        message: `the logit ${where} stream of query 0: the weights are damaged or the model overflows; check the file, or load it with float32.`,
      });
    }
  });

  test('the query of unusable logits is named', async () => {
    const logits = tensor2d([
      [0, 1],
      [1, 0],
      [0, 1],
      [nan, 0],
    ]);
    const draws = { settings: [{ amplification: 0 }, { amplification: 0 }], uniforms: [0, 0] };
    const error = await errorOf(() => readDraw(sdaRule(resolveSettings())(logits, draws)));
    logits.dispose();
    expect(error).toMatchObject({
      code: 'bad-logits',
      message: expect.stringContaining(
        'token 0 is NaN or infinite in the instructed stream of query 1',
      ),
    });
  });
});
