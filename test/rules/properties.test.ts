import { describe, expect, test } from 'vitest';
import { cdBeta } from '../../src/rules/cd.js';
import { cfg } from '../../src/rules/cfg.js';
import { contextSteering, cos } from '../../src/rules/cos.js';
import { blendRule, type Mixture, type Rule, type StreamSource } from '../../src/rules/define.js';
import { dexperts } from '../../src/rules/dexperts.js';
import { linearAlignment } from '../../src/rules/linear-alignment.js';
import { plain } from '../../src/rules/plain.js';
import { sda } from '../../src/rules/sda.js';
import { sdaSeveral } from '../../src/rules/sda-several.js';
import { expectNear } from '../support/close.js';
import { Random } from '../support/random.js';
import { useTensorFlow } from '../support/tensorflow.js';
import { TOLERANCE } from '../support/tolerances.js';
import { type AnyChoice, drawAll, type StepQuery } from './draws.js';
import { nucleus, plausible } from './float64.js';
import { PUBLISHED } from './published.js';
import { AWKWARD, type Awkward, rowsOf } from './rows.js';

useTensorFlow();

const uniforms = (count: number) => Array.from({ length: count }, (_, i) => (i + 0.5) / count);

function expectNearly(found: AnyChoice[], expected: AnyChoice[]): void {
  found.forEach((choice, index) => {
    const other = expected[index]!;
    expect(choice.id).toBe(other.id);
    expectNear(choice.logp, other.logp, TOLERANCE.logProb * Math.max(1, Math.abs(other.logp)));
    expectNear(choice.js, other.js, TOLERANCE.js);
    expectNear(choice.temperature / other.temperature, 1, TOLERANCE.temperature);
  });
}

describe.each(PUBLISHED.map((each) => [each.rule.name, each] as const))('%s', (_, published) => {
  const { rule, anchor } = published;
  const streams = Object.keys(rule.streams);

  test('a query has the same bits alone and in a batch of others', async () => {
    for (const V of [1, 7, 1003]) {
      const random = new Random(V);
      const queries = AWKWARD.map((kind, index): StepQuery => {
        const switches = {
          ...(index === 1 && { greedy: true }),
          ...(index === 2 && rule.name !== 'sda' && { details: true }),
        };
        return {
          rows: rowsOf(random, streams, { V, kind, anchor }),
          settings: { ...published.settings(random), ...switches },
          uniform: random.uniform(),
        };
      });
      const together = await drawAll(rule, queries);
      for (const [index, query] of queries.entries()) {
        expect(await drawAll(rule, [query])).toEqual([together[index]]);
      }
    }
  });

  test('T = 0 takes the likeliest token, the lowest id of equals', async () => {
    const random = new Random(3);
    const own = published.settings(random);
    const rows = rowsOf(random, streams, { V: 1000, kind: 'with ties', anchor });
    const cold = rule.name === 'sda' ? { t0: 0 } : { temperature: 0 };
    const [frozen, greedy] = (await drawAll(rule, [
      { rows, settings: { ...own, ...cold }, uniform: 0.99 },
      { rows, settings: { ...own, greedy: true } },
    ])) as [AnyChoice, AnyChoice];
    expect(frozen.temperature).toBe(0);
    expect(greedy.temperature).toBeGreaterThan(0);
    if (rule.name !== 'linear-alignment') expect(frozen.id).toBe(greedy.id); // its mask has a temperature
  });

  const { nothing } = published;
  if (!nothing) return;
  test('is plain decoding of its anchor where it steers by nothing, to the bit', async () => {
    const random = new Random(5);
    for (const kind of AWKWARD) {
      const rows = rowsOf(random, streams, { V: 1000, kind, anchor });
      const steered = uniforms(8).map((uniform) => ({ rows, settings: nothing, uniform }));
      const found = await drawAll(rule, steered);
      const alone = uniforms(8).map((uniform) => ({ rows: { prompt: rows[anchor]! }, uniform }));
      const expected = await drawAll(plain, alone);
      expect(found.map(({ id, logp }) => [id, logp])).toEqual(
        expected.map(({ id, logp }) => [id, logp]),
      );
    }
  });
});

test('AdaCAD is plain decoding where the context changes nothing', async () => {
  const { rule } = PUBLISHED.find((each) => each.rule.name === 'adacad')!;
  const kind = 'the same in all streams';
  const rows = rowsOf(new Random(1), ['context', 'plain'], { V: 1000, kind, anchor: 'context' });
  const found = await drawAll(
    rule,
    uniforms(8).map((uniform) => ({ rows, uniform })),
  );
  const alone = uniforms(8).map((uniform) => ({ rows: { prompt: rows.context }, uniform }));
  const expected = await drawAll(plain, alone);
  expect(found.map(({ id, logp }) => [id, logp])).toEqual(
    expected.map(({ id, logp }) => [id, logp]),
  );
});

test('self-debiasing by nothing is plain decoding up to rounding', async () => {
  const { rule } = PUBLISHED.find((each) => each.rule.name === 'self-debiasing')!;
  const rows = rowsOf(new Random(2), ['query', 'biased'], {
    V: 1000,
    kind: 'impossible in the anchor',
    anchor: 'query',
  });
  const settings = { decay: 0 };
  const found = await drawAll(
    rule,
    uniforms(8).map((uniform) => ({ rows, settings, uniform })),
  );
  const alone = uniforms(8).map((uniform) => ({ rows: { prompt: rows.query }, uniform }));
  (await drawAll(plain, alone)).forEach(({ id, logp }, index) => {
    expect(found[index]!.id).toBe(id);
    expectNear(found[index]!.logp, logp, TOLERANCE.logProb * Math.max(1, -logp));
  });
});

describe('rules that are each other', () => {
  const drawn = (
    rule: Rule,
    names: [with_: string, without: string],
    settings: object,
    kind: Awkward,
  ) => {
    const anchor = 'with';
    const pair = rowsOf(new Random(9), ['with', 'without'], { V: 1000, kind, anchor });
    const rows = { [names[0]]: pair.with, [names[1]]: pair.without };
    return drawAll(
      rule,
      uniforms(16).map((uniform) => ({ rows, settings: { ...settings }, uniform })),
    );
  };

  test.each([1, 1.5, 3])(
    'guidance by g = %s is SDA with k a = g - 1 at a fixed temperature',
    async (g) => {
      const fixed = { mode: 'steering', k: 2, amplification: (g - 1) / 2, t0: 0.8, topP: 0.9 };
      const expected = await drawn(sda, ['instructed', 'base'], fixed, 'impossible elsewhere');
      const settings = { weight: g, temperature: 0.8, topP: 0.9 };
      const names: [string, string] = ['conditional', 'unconditional'];
      expectNearly(await drawn(cfg, names, settings, 'impossible elsewhere'), expected);
    },
  );

  test('steering by several contexts with one of them is context steering with a lambda one greater', async () => {
    const kind = 'with ties'; // the anchors differ: nothing is impossible
    const found = await drawn(
      contextSteering(['it']),
      ['it', 'plain'],
      { lambda: { it: 1.7 } },
      kind,
    );
    expectNearly(found, await drawn(cos, ['context', 'plain'], { lambda: 0.7 }, kind));
  });

  test('SDA by several instructions with one of them is SDA, to the bit', async () => {
    const common = { k: 1.7, sigma: 0.05, tMin: 0.3, plausibility: 0.01, topK: 40 };
    const own = [0.2, 0, -0.3, 1].map((a) => ({ ...common, amplification: a }));
    for (const settings of [{}, ...own]) {
      const one = await drawn(sda, ['instructed', 'base'], settings, 'impossible elsewhere');
      const { amplification: it } = settings as { amplification?: number };
      const several = { ...settings, ...(it !== undefined && { amplification: { it } }) };
      const found = await drawn(
        sdaSeveral(['it']),
        ['all', 'base'],
        several,
        'impossible elsewhere',
      );
      const renamed = found.map(({ logps: { base, all }, ...rest }) => ({
        ...rest,
        logps: { base, instructed: all },
      }));
      expect(renamed).toEqual(one);
    }
  });
});

test('the order of streams changes nothing beyond rounding', async () => {
  type Name = 'base' | 'expert' | 'anti';
  const names: Name[] = ['base', 'expert', 'anti'];
  const rows = rowsOf(new Random(12), names, { V: 1000, kind: 'with ties', anchor: 'base' });
  const inOrder = (...order: Name[]) => {
    const streams = Object.fromEntries(order.map((name) => [name, {}])) as Record<
      Name,
      StreamSource
    >;
    const mixture: Mixture<Name> = {
      anchor: 'base',
      weights: { expert: 1.3, anti: -0.6 },
      pair: ['base', 'anti'],
      mask: { by: 'expert', topP: 0.95 },
    };
    const rest = { name: 'x', title: 'x', formula: 'x', source: 'x', settings: {} };
    return drawAll(
      blendRule({ ...rest, streams, blend: () => mixture }),
      uniforms(16).map((uniform) => ({ rows, uniform })),
    );
  };
  const expected = await inOrder('base', 'expert', 'anti');
  const others = [
    await inOrder('base', 'anti', 'expert'),
    await inOrder('expert', 'base', 'anti'),
    await inOrder('expert', 'anti', 'base'),
    await inOrder('anti', 'base', 'expert'),
    await inOrder('anti', 'expert', 'base'),
  ];
  for (const found of others) {
    expectNearly(found, expected);
    found.forEach(({ logps }, index) => {
      for (const name of names)
        expectNear(logps[name]!, expected[index]!.logps[name]!, TOLERANCE.logProb);
    });
  }
});

describe('masks', () => {
  const random = new Random(21);
  const draws = (rule: Rule, rows: StepQuery['rows'], settings: object) =>
    drawAll(
      rule,
      uniforms(64).map((uniform) => ({ rows, settings: { ...settings }, uniform })),
    );

  test('what the expert finds implausible is not drawn, however much the contrast wants it', async () => {
    const [kind, anchor] = ['of other offsets', 'expert'] as const;
    const rows = rowsOf(random, ['expert', 'amateur'], { V: 200, kind, anchor });
    const { kept } = plausible(rows.expert, 0.1);
    const found = await draws(cdBeta, rows, { alpha: 0.1, beta: 3 });
    for (const { id } of found) expect(kept[id]).toBe(true);
    const unmasked = await draws(cdBeta, rows, { alpha: 0, beta: 3 });
    expect(unmasked.some(({ id }) => !kept[id])).toBe(true);
  });

  test('experts choose within the nucleus of the base at temperature 1', async () => {
    const names = ['base', 'expert', 'antiExpert'];
    const rows = rowsOf(random, names, { V: 200, kind: 'of other offsets', anchor: 'base' });
    const { kept } = nucleus(rows.base!, { topP: 0.9 });
    const hot = { temperature: 3, topP: 1 };
    for (const { id } of await draws(dexperts, rows, hot)) expect(kept[id]).toBe(true);
    const unmasked = await draws(dexperts, rows, { ...hot, baseTopP: 1 });
    expect(unmasked.some(({ id }) => !kept[id])).toBe(true);
  });

  test('linear alignment chooses within the nucleus of the instructed stream at its temperature', async () => {
    const names = ['instructed', 'base'];
    const rows = rowsOf(random, names, { V: 200, kind: 'with ties', anchor: 'instructed' });
    const [wide, narrow] = [2, 1].map((tau) => nucleus(rows.instructed!, { topP: 0.8, tau }).kept);
    const found = await draws(linearAlignment, rows, { temperature: 2, topP: 1 });
    for (const { id } of found) expect(wide![id]).toBe(true);
    expect(found.some(({ id }) => !narrow![id])).toBe(true);
  });
});
