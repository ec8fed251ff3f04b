import { describe, expect, test } from 'vitest';
import { LOG_PROB_FLOOR } from '../../src/method/blend.js';
import { resolveSettingsOf } from '../../src/rules/define.js';
import { expectNear } from '../support/close.js';
import { useReferenceKernels } from '../support/native.js';
import { Random } from '../support/random.js';
import { useTensorFlow } from '../support/tensorflow.js';
import { TOLERANCE } from '../support/tolerances.js';
import { type AnyChoice, drawAll, expectDrawn } from './draws.js';
import { entropy, jensenShannon, largest, logSoftmax, logSumExp } from './float64.js';
import { PUBLISHED, type Published } from './published.js';
import { AWKWARD, MASKED, rowsOf } from './rows.js';

useTensorFlow();

/** Decisions nearer than this may fall otherwise in float32. */
const LEAST_MARGIN = 1e-5;

/** Of the widest rows, which are slow in float64. */
const WIDE = ['impossible elsewhere'] as const;

type Rows = Record<string, Float32Array>;

/** Finite rows that mean what the streams do: see `Published.away`. */
function finite(rows: Rows, { anchor, away }: Published, settings: unknown): Rows64 {
  const floored = away(settings);
  const entries = Object.entries(rows).map(([name, row]) => {
    const low = logSumExp(row) + (floored.includes(name) ? LOG_PROB_FLOOR : -1e6);
    return [
      name,
      name === anchor
        ? Float64Array.from(row)
        : Float64Array.from(row, (value) => Math.max(value, low)),
    ];
  });
  return Object.fromEntries(entries) as Rows64;
}
type Rows64 = Record<string, Float64Array>;

/** Random settings of which no decision is too near. */
function stepOf(published: Published, rows: Rows, random: Random) {
  for (let tries = 0; tries < 50; tries++) {
    const own = published.settings(random);
    const settings = resolveSettingsOf(published.rule, own) as object;
    const step = published.step(finite(rows, published, settings), settings);
    if ((step.margin ?? 1) > LEAST_MARGIN) return { settings: own, step };
  }
  throw new Error(`${published.rule.name}: every decision is near`);
}

/** log P' in float64; what the anchor finds impossible stays so. */
function expected({ score, temperature }: ReturnType<Published['step']>, anchor: Float32Array) {
  const possible = score.map((value, id) => (anchor[id] === MASKED ? MASKED : value));
  return { logProbs: logSoftmax(possible, temperature), score: possible };
}

/** Statistics of the streams in float64. */
function statisticsOf(rows: Rows, { rule, anchor }: Published) {
  const names = Object.keys(rows);
  const other = names.find((name) => name !== anchor) ?? anchor;
  const [first, second] = rule.name.startsWith('sda') ? (names as [string]) : [anchor, other];
  const of = <T>(value: (row: Float32Array) => T) =>
    names.map((name) => [name, value(rows[name]!)] as const);
  return {
    js: jensenShannon(rows[first]!, rows[second ?? first]!),
    generalJs: jensenShannon(...Object.values(rows)),
    entropies: of(entropy),
    logZs: of(logSumExp),
  };
}

function expectStatistics(
  choice: AnyChoice,
  rows: Rows,
  { js, generalJs, entropies, logZs }: ReturnType<typeof statisticsOf>,
): void {
  expectNear(choice.js, js, TOLERANCE.js);
  for (const [name, logZ] of logZs) {
    const logP = rows[name]![choice.id]! - logZ;
    expectNear(choice.logps[name]!, logP, TOLERANCE.logProb * Math.max(1, Math.abs(logP)));
  }
  if (!choice.details) return;
  expectNear(choice.details.generalJs!, generalJs, TOLERANCE.js);
  for (const [name, nats] of entropies) {
    expectNear(choice.details.entropies![name]!, nats, TOLERANCE.logProb * Math.max(1, nats));
  }
}

function holdToFloat64(published: Published, sizes: readonly number[]): void {
  const { rule, anchor } = published;
  const streams = Object.keys(rule.streams);
  const hasDetails = rule.name !== 'sda';

  for (const V of sizes) {
    test.each(V > 1000 ? WIDE : AWKWARD)(`V = ${V}, logits %s`, async (kind) => {
      const random = new Random(V + 7 * AWKWARD.indexOf(kind));
      const count = V > 1000 ? 3 : 12;
      const rows = rowsOf(random, streams, { V, kind, anchor }) as Rows;
      const { settings, step } = stepOf(published, rows, random);
      const { logProbs, score } = expected(step, rows[anchor]!);
      const queries = Array.from({ length: count }, (_, query) => ({
        rows,
        settings: { ...settings, ...(hasDetails && { details: query % 2 === 0 }) },
        uniform: (query + random.uniform()) / count,
      }));
      const choices = await drawAll(rule, queries);
      const statistics = statisticsOf(rows, published);
      // context steering has its temperature in its score
      const asked = rule.name.startsWith('cos') ? Number(settings.temperature) : step.temperature;
      const best = largest(score) / step.temperature;
      choices.forEach((choice, query) => {
        const logP = logProbs[choice.id]!;
        expect(logP).toBeGreaterThan(MASKED);
        const scale = Math.max(1, Math.abs(logP), Math.abs(best)); // floored streams score by thousands
        expectNear(choice.logp, logP, TOLERANCE.logProb * scale);
        expectDrawn(choice, queries[query]!.uniform, logProbs);
        expectStatistics(choice, rows, statistics);
        if (!choice.details) return;
        const nats = entropy(score.map((value) => (value * asked) / step.temperature));
        expectNear(choice.details.scoreEntropy!, nats, TOLERANCE.logProb * Math.max(scale, nats));
      });
      const [first] = choices as [AnyChoice];
      expectNear(first.temperature / asked, 1, TOLERANCE.temperature);
    });
  }
}

const NAMED = PUBLISHED.map((each) => [each.rule.name, each] as const);

describe.each(NAMED)('%s', (_, published) => holdToFloat64(published, [1, 7, 1000, 151_936]));

describe('without the native kernels', () => {
  useReferenceKernels();
  describe.each(NAMED)('%s', (_, published) => holdToFloat64(published, [1, 7, 1000]));
});
