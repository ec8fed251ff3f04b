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
import { resolveSettingsOf } from '../../src/rules/define.js';
import { sda } from '../../src/rules/sda.js';
import { errorOf } from '../support/tensorflow.js';
import { PUBLISHED } from './published.js';

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
};

/** A value of each setting that is out of its range or not of its type. */
const WRONG: Record<string, unknown> = {
  ...{ mode: 'both', amplification: Number.NaN, k: 0, t0: -1, sigma: 0, tMin: -0.1 },
  ...{ topP: 1.5, topK: 2.5, minP: -0.1, greedy: 'yes', plausibility: 2, temperature: -1 },
  ...{ details: 1, base: 0, theta: -1, weight: Number.POSITIVE_INFINITY, alpha: '0.5', floor: -1 },
  ...{ ratio: '4', lambda: null, amateurTemperature: 0, beta: Number.NaN, baseTopP: 2 },
  ...{ instructedTopP: -1, strength: 'strong', baseTopK: -1, epsilon: 'none', decay: -1 },
};

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

describe.each(PUBLISHED.map(({ rule }) => [rule.name, rule] as const))('%s', (name, rule) => {
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
    for (const each of shape) expect((error as SdaError).message).toContain(each);
  });

  test.each(shape)('refuses values of %s out of range', async (setting) => {
    expect(WRONG).toHaveProperty(setting);
    const wrong = { [setting]: WRONG[setting] };
    const error = await errorOf(() => resolveSettingsOf(rule, wrong, ' of request 3'));
    expectSentence(error, new RegExp(`${setting}.* of request 3`));
  });
});

test('sda takes and refuses what its own settings do', async () => {
  const schema = sda.settings;
  expect(schema.parse({})).toEqual(DEFAULT_SETTINGS);
  for (const [name, value] of Object.entries(WRONG)) {
    if (!(name in DEFAULT_SETTINGS)) continue;
    expect(schema.safeParse({ [name]: value }).success).toBe(false);
    expectSentence(await errorOf(() => resolveSettings({ [name]: value })), /must be/);
  }
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
