import { tensor2d } from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, type TestContext, test } from 'vitest';
import { STEP_STATS, stepDetails } from '../../../kernels/step/index.js';
import { argumentOf } from '../../../src/engine/vllm/argument.js';
import { type Blend, type BlendPlan, drawBlend, planOf } from '../../../src/method/blend.js';
import { readDraw } from '../../../src/method/rule.js';
import { resolveSettings, type SdaSettings } from '../../../src/method/settings.js';
import { sdaBlend } from '../../../src/method/step.js';
import modes from '../../fixtures/method/step.json' with { type: 'json' };
import fixture from '../../fixtures/sda_step.json' with { type: 'json' };
import { expectClose, expectNear } from '../../support/close.js';
import { blendOf } from '../../support/plans.js';
import { Random } from '../../support/random.js';
import { NO_TORCH, pythonWithTorch, runPython } from '../../support/sda-vllm.js';
import { oracleStep } from '../../support/step-oracle.js';
import { useTensorFlow } from '../../support/tensorflow.js';
import { TOLERANCE } from '../../support/tolerances.js';

useTensorFlow();

const python = pythonWithTorch();

interface Case {
  readonly streams: readonly (readonly number[])[];
  readonly plan: BlendPlan;
  readonly u: number;
}

interface Found {
  readonly id: number;
  readonly logProbs: number[];
  readonly stats: number[];
  readonly details: number[];
  readonly ofStreams: number[];
}

const number = (text: string) =>
  text === 'inf' ? Infinity : text === '-inf' ? -Infinity : Number(text);
const word = (value: number) =>
  Number.isFinite(value) ? String(value) : Number.isNaN(value) ? 'nan' : value > 0 ? 'inf' : '-inf';

/** What sda_vllm makes of cases, in one process. */
function run(cases: readonly Case[]): Found[] {
  const told = cases.map(({ streams, plan, u }) => ({
    streams: streams.map((line) => line.map(word)),
    at: 1,
    sda: argumentOf(
      { group: 'g', streams: streams.length, plan, uniforms: [0.99, u], absent: [], lone: 0 },
      0,
    ),
  }));
  const answer = runPython(python!, ['steps.py'], JSON.stringify(told));
  const found = JSON.parse(answer) as (Record<string, string[]> & { id: number })[];
  return found.map(({ id, log_p, stats, details, streams }) => ({
    id,
    logProbs: log_p!.map(number),
    stats: stats!.map(number),
    details: details!.map(number),
    ofStreams: streams!.map(number),
  }));
}

const NAMES = ['a', 'b', 'c', 'd'] as const;

const numbers = (values: readonly (number | string)[]) => values.map(Number);

function sdaCase(
  base: readonly (number | string)[],
  instructed: readonly (number | string)[],
  settings: Partial<SdaSettings>,
): Case {
  const blend = sdaBlend(resolveSettings(settings));
  const plan = planOf(blend, ['base', 'instructed']);
  return { streams: [numbers(base), numbers(instructed)], plan, u: 0.5 };
}

/** A blend of any kind, over streams that have to do with each other. */
function randomCase(random: Random, index: number): Case {
  const S = 1 + (index % 4);
  const V = [7, 600, 5000][index % 3]!;
  const common = random.normals(V, 3);
  const streams = Array.from({ length: S }, () =>
    [...common].map((x) => Math.fround(x + random.normal())),
  );
  if (index % 5 === 0) streams[S - 1]![3] = -Infinity;
  const of = <T>(list: readonly T[]) => list[Math.floor(random.uniform() * list.length)]!;
  const by = NAMES[Math.floor(random.uniform() * S)]!;
  const t0 = 0.5 + random.uniform();
  const blend: Blend<(typeof NAMES)[number]> = {
    anchor: NAMES[index % S]!,
    weights: Object.fromEntries(
      NAMES.slice(0, S)
        .filter((name) => name !== NAMES[index % S])
        .map((name) => [name, of([0, random.normal() * 0.7])]),
    ),
    sum: of([undefined, random.uniform() + 0.1]),
    positiveFloor: of([undefined, -1e4]),
    byDivergence: of([undefined, { floor: 0.2 * random.uniform() }]),
    mask: of([
      undefined,
      { by, plausibility: 0.2 * random.uniform() },
      { by, topK: 4, topP: 0.9, temperature: 0.8 },
    ]),
    temperature: of([
      { t0 },
      { t0, sigma: 0.05, tMin: 0.2 },
      { t0, base: 0.9, theta: 0.1 * random.uniform() },
      { t0: 0 },
    ]),
    cuts: { topK: of([0, 3, 40]), topP: of([1, 0.95, 0.3]), minP: of([0, 0.1]) },
    greedy: index % 7 === 0,
    details: index % 2 === 0,
  };
  return {
    streams,
    plan: planOf(blend, NAMES.slice(0, S)),
    u: Math.fround(random.uniform() * 0.999),
  };
}

/** The package's own kernels on the same plan. */
async function byKernels({ streams, plan, u }: Case) {
  const S = streams.length;
  const logits = tensor2d(streams.flat(), [S, streams[0]!.length], 'float32');
  const names = NAMES.slice(0, S);
  const draws = { uniforms: [u], queries: [0] };
  const blend = blendOf(plan, names);
  const [choice] = await readDraw(drawBlend(logits, names, [blend], draws));
  logits.dispose();
  return choice!;
}

describe('the step of sda-vllm', () => {
  const golden = fixture.cases.map(({ base, instructed, k, a, t0, sigma, tmin: tMin }) =>
    sdaCase(base, instructed, { k, amplification: a, t0, sigma, tMin }),
  );
  const ablations = modes.cases.map(({ base, instructed, settings }) =>
    sdaCase(base, instructed, settings as Partial<SdaSettings>),
  );
  const random = new Random(5);
  const others = Array.from({ length: 240 }, (_, index) => randomCase(random, index));
  const line = [0, 1, 2, 3];
  const damaged = [
    [line, [0, Number.NaN, 1, 2]],
    [[0, 1, Infinity, 2], line],
    [line, line.map(() => -Infinity)],
  ].map(([base, instructed]) => sdaCase(base!, instructed!, {}));
  let found: Found[] = [];

  beforeAll(() => {
    if (python) found = run([...golden, ...ablations, ...others, ...damaged]);
  }, 600_000); // the first import of PyTorch reads gigabytes
  const needsTorch = ({ skip }: TestContext) => skip(!python, NO_TORCH);

  test('is that of the golden cases, in float64', (context) => {
    needsTorch(context);
    for (const [index, { js, temperature, probs }] of fixture.cases.entries()) {
      const { stats, logProbs } = found[index]!;
      expectNear(stats[0]!, js, TOLERANCE.js);
      expectNear(stats[1]!, temperature, TOLERANCE.js);
      expect(stats.slice(2)).toEqual([-1, -1]);
      probs.forEach((p, token) => {
        expectNear(Math.exp(logProbs[token]!), p, TOLERANCE.probability);
      });
    }
  });

  test('is that of the ablations and settings, in float64', (context) => {
    needsTorch(context);
    for (const [index, { js, temperature, log_probs }] of modes.cases.entries()) {
      const { stats, logProbs } = found[golden.length + index]!;
      expectNear(stats[0]!, js, TOLERANCE.js);
      expectNear(stats[1]! / temperature, 1, TOLERANCE.temperature);
      const expected = numbers(log_probs);
      const size = Math.max(1, ...expected.filter(Number.isFinite).map(Math.abs));
      expected.forEach((value, token) => {
        if (Number.isFinite(value)) expectNear(logProbs[token]!, value, TOLERANCE.logProb * size);
        else expect(logProbs[token]).toBe(value);
      });
    }
  });

  test('takes every blend as the oracle and the kernels do, and draws the same token', async (context) => {
    needsTorch(context);
    for (const [index, each] of others.entries()) {
      const { streams, plan } = each;
      const { id, stats, logProbs, details, ofStreams } =
        found[golden.length + ablations.length + index]!;
      const S = streams.length;
      const choice = await byKernels(each);
      expect([index, id]).toEqual([index, choice.id]);
      expectNear(stats[STEP_STATS.js]!, choice.js, TOLERANCE.js);
      for (const [stream, logp] of Object.values(choice.logps).entries()) {
        if (!Number.isFinite(logp)) expect(ofStreams[stream]).toBe(logp);
        else expectNear(ofStreams[stream]!, logp, TOLERANCE.kernel * Math.max(1, Math.abs(logp)));
      }
      if (plan.kinds.mask !== 'least') {
        const expected = oracleStep(streams, plan.numbers, plan.kinds);
        expectClose(logProbs, expected.logProbs, TOLERANCE.kernel);
        expectNear(stats[STEP_STATS.temperature]! / expected.temperature, 1, TOLERANCE.kernel);
        if (plan.kinds.details) {
          const at = stepDetails(S);
          const from = at.scoreEntropy;
          const size = Math.max(1, expected.scoreSize);
          expectNear(details[0]!, expected.scoreEntropy, TOLERANCE.entropy * size);
          expectNear(details[1]!, expected.generalJs, TOLERANCE.js);
          expectNear(details[2]!, expected.keptMass, TOLERANCE.sum);
          expectClose(
            details.slice(at.entropies - from, at.entropies - from + S),
            expected.entropies,
            TOLERANCE.entropy,
          );
          expectClose(details.slice(at.weights - from), expected.weights, TOLERANCE.kernel);
        }
      }
    }
  });

  test('names the logit that cannot be used', (context) => {
    needsTorch(context);
    expect(found.slice(-damaged.length).map(({ stats }) => stats)).toEqual([
      [0, 0, 1, 1],
      [0, 0, 0, 2],
      [0, 0, 1, -1],
    ]);
  });
});
