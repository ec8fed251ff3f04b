import { describe, expect, test } from 'vitest';
import { SdaError } from '../../src/errors.js';
import { DEFAULT_SETTINGS, resolveSettings } from '../../src/method/settings.js';
import {
  contextSteering,
  RULES,
  ruleNamed,
  sdaSeveral,
  selfDebiasing,
} from '../../src/rules/catalogue.js';
import { type Rule, resolveSettingsOf } from '../../src/rules/define.js';
import { dola } from '../../src/rules/dola.js';
import { sda } from '../../src/rules/sda.js';
import { errorOf } from '../support/tensorflow.js';

/** One of each factory. */
const FACTORIES = [
  contextSteering(['teacher', 'child']),
  sdaSeveral(['kind', 'short']),
  selfDebiasing(['rude', 'toxic']),
] as unknown as Rule[];

const SAMPLED = { temperature: 1, topP: 1, topK: 0, minP: 0, greedy: false, details: false };

/** As the papers and their code have them. */
const DEFAULTS: Record<string, object> = {
  sda: DEFAULT_SETTINGS,
  plain: SAMPLED,
  edt: { ...SAMPLED, base: 0.8, theta: 1.5 },
  cfg: { ...SAMPLED, weight: 1.5 },
  cad: { ...SAMPLED, alpha: 0.5 },
  adacad: { ...SAMPLED, floor: 0 },
  coiecd: { ...SAMPLED, alpha: 1, ratio: 4, greedy: true },
  cos: { ...SAMPLED, lambda: 1, temperature: 0.6, topP: 0.9 },
  cd: { ...SAMPLED, alpha: 0.1, amateurTemperature: 1 },
  'cd-beta': { ...SAMPLED, alpha: 0.1, beta: 0.5 },
  dexperts: { ...SAMPLED, alpha: 2, baseTopP: 0.9 },
  'proxy-tuning': { ...SAMPLED, alpha: 1 },
  eft: { ...SAMPLED, beta: 1 },
  'linear-alignment': { ...SAMPLED, ratio: 2, instructedTopP: 0.8 },
  preadd: { ...SAMPLED, strength: -1, baseTopK: 0, baseTopP: 1 },
  rose: { ...SAMPLED, alpha: 0.5, greedy: true },
  'instructive-decoding': { ...SAMPLED, epsilon: -0.3, greedy: true },
  'self-debiasing': { ...SAMPLED, decay: 50, epsilon: 0.01 },
  dola: { ...SAMPLED, alpha: 0.1, layers: 'low', norm: true },
};

/** A value of each setting that is out of its range or not of its type, and what is expected instead. */
const WRONG: Record<string, [value: unknown, expected: string]> = {
  mode: ['both', 'one of sda, steering, scaling, instructed, base'],
  amplification: [Number.NaN, 'a finite number'],
  k: [0, 'a number above 0'],
  t0: [-1, 'a number of at least 0'],
  sigma: [0, 'a number above 0'],
  tMin: [-0.1, 'a number of at least 0'],
  topP: [1.5, 'a number in 0..1'],
  topK: [2.5, 'a whole number'],
  minP: [-0.1, 'a number in 0..1'],
  greedy: ['yes', 'true or false'],
  plausibility: [2, 'a number in 0..1'],
  temperature: [-1, 'a number of at least 0'],
  details: [1, 'true or false'],
  base: [0, 'a number above 0, at most 1'],
  theta: [-1, 'a number of at least 0'],
  weight: [Number.POSITIVE_INFINITY, 'a finite number'],
  alpha: ['0.5', 'a '],
  floor: [-1, 'a number of at least 0'],
  ratio: ['4', 'a '],
  lambda: [null, 'a '],
  amateurTemperature: [0, 'a number above 0'],
  beta: [Number.NaN, 'a '],
  baseTopP: [2, 'a number in 0..1'],
  instructedTopP: [-1, 'a number in 0..1'],
  strength: ['strong', 'a finite number'],
  baseTopK: [-1, 'a whole number, at least 0'],
  epsilon: ['none', 'a '],
  decay: [-1, 'a number of at least 0'],
  layers: ['lower', 'one of low, high, or a list, each a whole number, at least 0'],
  norm: ['no', 'true or false'],
};

/** All rules of the catalogue, and one of each factory. */
const ALL = [...RULES.map(({ name }) => ruleNamed(name)), ...FACTORIES];

const expectSentence = (error: unknown, pattern: RegExp) => {
  expect(error).toBeInstanceOf(SdaError);
  const { message, code } = error as SdaError;
  expect(code).toBe('bad-input');
  expect(message).toMatch(pattern);
  expect(message).toMatch(/^[A-Za-z][^\n]*\.$/);
};

test('every method is found by its name, and another name is told what there is', async () => {
  for (const rule of RULES) expect(ruleNamed(rule.name)).toBe(rule);
  expect(new Set(RULES.map(({ name }) => name)).size).toBe(RULES.length);
  expect(RULES.map(({ name }) => name)).toEqual(Object.keys(DEFAULTS));
  expectSentence(await errorOf(() => ruleNamed('cgf')), /no rule "cgf".*sda, plain, edt, cfg,/);
  expectSentence(await errorOf(() => ruleNamed('constructor')), /no rule "constructor"/);
});

describe.each(ALL.map((rule) => [rule.name, rule] as const))('%s', (name, rule) => {
  const shape = Object.keys((rule.settings as unknown as { shape: object }).shape);

  test('says what it is, with the names of its settings', () => {
    for (const text of [rule.title, rule.formula, rule.source]) expect(text).toMatch(/\w{3}/);
    const own = shape.filter((each) => !(each in SAMPLED));
    if (rule.name in DEFAULTS && rule.name !== 'sda') {
      for (const each of own.filter((it) => !/^(base|instructed)Top/.test(it))) {
        expect(rule.formula).toContain(each);
      }
    }
  });

  test('has published defaults, which are within its ranges', () => {
    const found = resolveSettingsOf(rule, {}) as object;
    if (name in DEFAULTS) expect(found).toEqual(DEFAULTS[name]);
    expect(resolveSettingsOf(rule, found)).toEqual(found);
    expect(resolveSettingsOf(rule, { topP: undefined })).toEqual(found);
    expect(Object.keys(found).sort()).toEqual([...shape].sort());
  });

  test('refuses a setting that it does not have', async () => {
    const error = await errorOf(() => resolveSettingsOf(rule, { strenght: 1 }, ' of request 3'));
    expectSentence(error, /has no setting "strenght" of request 3: its settings are /);
    for (const each of shape) expect(error.message).toContain(each);
  });

  test.each(shape)(
    'refuses values of %s out of range, by request and as it is decoded',
    async (setting) => {
      const [value, ofNumber] = WRONG[setting]!;
      const several = name === 'sda-several' && setting === 'amplification';
      const expected = several ? 'an object of kind, short' : ofNumber;
      const wrong = { [setting]: value };
      const shown = typeof value === 'object' ? JSON.stringify(value) : String(value);
      const refusals = [
        [' of request 3', () => resolveSettingsOf(rule, wrong, ' of request 3')],
        [
          ' of query 2',
          () => rule.step.check!(2, { ...(resolveSettingsOf(rule) as object), ...wrong }, own),
        ],
      ] as const;
      for (const [of, refused] of refusals) {
        const error = await errorOf(refused);
        expectSentence(error, new RegExp(`${setting}.*${of} of the rule ${name} `));
        expect(error.message).toContain(expected);
        expect(error.message).toContain(shown);
      }
    },
  );

  const names = Object.keys(rule.streams);
  const own = { count: names.length, names };
  test('refuses to decode with settings that are unknown or left out', async () => {
    const whole = resolveSettingsOf(rule) as Record<string, unknown>;
    const check = (settings: object, streams = own) => rule.step.check!(2, settings, streams);
    check(whole);
    check({ ...whole });
    const unknown = await errorOf(() => check({ ...whole, strenght: 1 }));
    expectSentence(unknown, new RegExp(`rule ${name} has no setting "strenght" of query 2`));
    if (name === 'sda') return; // has its defaults in its step
    for (const left of shape) {
      const { [left]: _, ...partial } = whole;
      const error = await errorOf(() => check(partial));
      expectSentence(error, new RegExp(`setting ${left} of query 2 of the rule ${name} is not`));
    }
  });

  test('refuses to decode other streams than its own, or its own in another order', async () => {
    const whole = resolveSettingsOf(rule) as object;
    const given = (streams: string[]) => ({ count: streams.length, names: streams });
    const wrong = [
      given([...names, 'more']),
      given(names.map((each) => `${each}s`)),
      { count: names.length + 1, names: undefined },
      ...(names.length > 1 ? [given(names.toReversed())] : []),
      ...(name === 'sda' ? [] : [given(names.slice(1))]),
    ];
    for (const streams of wrong) {
      const error = await errorOf(() => rule.step.check!(2, whole, streams));
      expectSentence(error, new RegExp(`^The rule ${name} has the streams? ${names.join(', ')}`));
      const found = streams.names?.join(', ') ?? `${names.length + 1} prompts`;
      expect(error.message).toContain(`query 2 comes with ${found}: `);
    }
    rule.step.check!(2, whole, { count: names.length, names: undefined });
  });
});

test('sda takes and refuses what its own settings do', async () => {
  const schema = sda.settings;
  expect(schema.parse({})).toEqual(DEFAULT_SETTINGS);
  for (const [name, [value]] of Object.entries(WRONG)) {
    if (!(name in DEFAULT_SETTINGS)) continue;
    expect(schema.safeParse({ [name]: value }).success).toBe(false);
    expectSentence(await errorOf(() => resolveSettings({ [name]: value })), /must be/);
  }
});

test('a wrong number in a list is named by its place', async () => {
  const error = await errorOf(() => resolveSettingsOf(dola, { layers: [4, -2] }));
  expectSentence(
    error,
    /layers\.1 of the rule dola is -2: it must be a whole number, at least 0\.$/,
  );
});

describe('rules of several streams', () => {
  test('have a setting for each name', async () => {
    const rule = contextSteering(['teacher', 'child']);
    expect(Object.keys(rule.streams)).toEqual(['plain', 'teacher', 'child']);
    const { lambda } = resolveSettingsOf(rule, { lambda: { teacher: 2, child: 1 } });
    expect(lambda).toEqual({ teacher: 2, child: 1 });
    const partly = { lambda: { teacher: 2 } } as object;
    expect(resolveSettingsOf(rule, partly).lambda).toEqual({ teacher: 2, child: 1 });
    const wrong = { lambda: { teacher: 'much' } } as object;
    const error = await errorOf(() => resolveSettingsOf(rule, wrong));
    expectSentence(error, /setting lambda\.teacher of the rule cos-several is much/);
    const unknown = { lambda: { pupil: 1 } } as object;
    expectSentence(await errorOf(() => resolveSettingsOf(rule, unknown)), /setting lambda .*pupil/);
  });

  test('have the streams that their names ask for', () => {
    expect(Object.keys(sdaSeveral(['kind']).streams)).toEqual(['base', 'all']);
    expect(Object.keys(sdaSeveral(['kind', 'short']).streams)).toEqual([
      ...['base', 'all', 'kind', 'short'],
    ]);
    expect(Object.keys(selfDebiasing(['rude']).streams)).toEqual(['query', 'rude']);
  });

  const many = (count: number) => Array.from({ length: count }, (_, i) => `n${i}`);
  test.each([
    ['no name', () => contextSteering([]), /takes 1 to 7 names of streams, but has 0/],
    ['too many', () => contextSteering(many(8)), /takes 1 to 7 .* has 8/],
    ['too many for SDA', () => sdaSeveral(many(7)), /takes 1 to 6 .* has 7/],
    ['twice the same', () => selfDebiasing(['a', 'a']), /cannot name a stream "a"/],
    ['a name that is taken', () => contextSteering(['plain']), /"plain".*none is plain/],
    ['an empty one', () => sdaSeveral(['kind', '']), /cannot name a stream ""/],
    ['a number, whose place would change', () => sdaSeveral(['1', 'b']), /stream "1"/],
    ['one of every object', () => contextSteering(['constructor']), null],
  ] as const)('%s', async (_, make, pattern) => {
    if (pattern) return expectSentence(await errorOf(make), pattern);
    expect(Object.keys(make().streams)).toContain('constructor');
  });
});
