import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { RUBRICS } from '../../src/evaluate/rubrics.js';
import {
  decidingSettings,
  type ExperimentConfig,
  instructionOf,
  itemSeed,
  parseConfig,
  readConfig,
} from '../../src/experiment/config.js';
import { pairingsOf } from '../../src/experiment/methods.js';
import { INSTRUCTIONS } from '../../src/text/instructions.js';
import { temporaryFolder } from '../support/folders.js';
import { errorOf } from '../support/tensorflow.js';

const DATA = { file: 'examples/data/plain.jsonl', fields: { query: 'query' } };
const STAND_IN = { kind: 'stand-in' };
const parse = (more: object) => parseConfig({ data: DATA, ...more }, 'test');

describe('a configuration', () => {
  test('has the paper’s defaults', () => {
    const { decoding, methods, evaluator, judge, core, name, batch } = parse({});
    expect(decoding).toMatchObject({ k: 2, t0: 0.6, sigma: 0.01, t_min: 0.2, top_p: 0.95 });
    expect({ methods, evaluator, judge, core, name, batch }).toEqual({
      methods: ['sda'],
      evaluator: { kind: 'intrinsic' },
      judge: undefined,
      core: 'helpfulness',
      name: 'test',
      batch: 4,
    });
  });

  test('says of a cache in float32 nothing, so that runs of before have the same settings', () => {
    const other = { dir: 'm' };
    const model = (kv?: string) => {
      const more = kv === undefined ? {} : { kv };
      const entry = { name: 'r', rule: 'cd', models: { amateur: { ...other, ...more } } };
      const methods = ['sda', 'aligner'];
      const aligner = { ...other, ...more };
      const config = parse({ model: more, methods, aligner, rules: [entry] });
      return [config.model, config.aligner, config.rules![0]!.models!.amateur];
    };
    expect(JSON.stringify(model('float32'))).toBe(JSON.stringify(model()));
    expect(model('bfloat16')).toMatchObject(Array(3).fill({ kv: 'bfloat16' }));
    expect(JSON.stringify(model())).not.toContain('kv');
  });

  test('takes the instruction of its core, or its own', () => {
    expect(instructionOf(parse({ core: 'truthful' }))).toBe(INSTRUCTIONS.truthful);
    expect(instructionOf(parse({ instruction: 'Be brief.' }))).toBe('Be brief.');
  });

  test.each<[string, object, RegExp]>([
    ['an unknown key', { modle: {} }, /^test: unknown key modle \(known for .*: name, model, data/],
    [
      'an unknown key inside',
      { decoding: { tempreture: 1 } },
      /^test\.decoding: unknown key tempreture/,
    ],
    ['a value out of range', { decoding: { top_p: 1.5 } }, /^test\.decoding\.top_p: /],
    ['an unknown method', { methods: ['sdaa'] }, /^test\.methods\.0: /],
    ['a method twice', { methods: ['sda', 'sda'] }, /must not name a method twice/],
    ['a key', { judge: { kind: 'openai', api_key: 'sk-secret' } }, /environment variable/],
    ['an aligner without its model', { methods: ['aligner'] }, /"aligner" .* go together/],
    ['no kind', { evaluator: {} }, /must have a kind: openai, intrinsic, fixed, file or stand-in/],
    ['comparisons without a judge', { compare: [['sda', 'base']] }, /no judge to compare by/],
    [
      'a comparison with a method that is not decoded',
      { judge: STAND_IN, compare: [['sda', 'steering']] },
      /^test\.compare: \[sda, steering\] names steering, which is not among the methods/,
    ],
    ['a comparison with itself', { judge: STAND_IN, compare: [['sda', 'sda']] }, /with itself/],
    ['base first', { judge: STAND_IN, compare: [['base', 'sda']] }, /: write \[sda, base\]/],
    [
      'a comparison both ways round',
      {
        judge: STAND_IN,
        methods: ['sda', 'steering'],
        compare: [
          ['sda', 'steering'],
          ['steering', 'sda'],
        ],
      },
      /\[steering, sda\] is there twice/,
    ],
    [
      'an unknown method in a comparison',
      { judge: STAND_IN, compare: [['sda', 'bass']] },
      /^test\.compare\.0\.1: /,
    ],
    ['no data set', { data: undefined }, /^test\.data/],
  ])('refuses %s', async (_, more, message) => {
    const error = await errorOf(() => parse(more));
    expect(error).toMatchObject({ code: 'bad-input', message: expect.stringMatching(message) });
    expect(String(error)).not.toContain('sk-secret');
  });

  test('is the same as YAML and as JSON', async () => {
    const dir = temporaryFolder();
    const [yaml, json] = [join(dir, 'a.yaml'), join(dir, 'a.json')];
    writeFileSync(yaml, `data: {file: d.jsonl, fields: {query: q}}\nseed: 3 # fixes all\n`);
    writeFileSync(
      json,
      JSON.stringify({ data: { file: 'd.jsonl', fields: { query: 'q' } }, seed: 3 }),
    );
    expect(await readConfig(yaml)).toEqual(await readConfig(json));
    expect((await readConfig(yaml)).name).toBe('a');
  });

  test.each([
    ['a: [1, 2', /line 1, column/],
    ['a: 1\n b: 2\n', /line 1, column/],
    ['\tseed: 1', /neither YAML nor JSON/],
  ])('says where %j is no YAML', async (source, message) => {
    const file = join(temporaryFolder(), 'bad.yaml');
    writeFileSync(file, source);
    const error = await errorOf(() => readConfig(file));
    expect(error).toMatchObject({ code: 'bad-file', message: expect.stringMatching(message) });
  });

  test('that does not exist is named', async () => {
    const error = await errorOf(() => readConfig('no/such.yaml'));
    expect(error).toMatchObject({
      code: 'file-missing',
      message: expect.stringContaining('no/such.yaml'),
    });
  });
});

test('the judge compares each method with base, or what is named; nothing without a judge', () => {
  const pairings = (more: object) =>
    pairingsOf(parse({ methods: ['sda', 'steering'], ...more }) as ExperimentConfig);
  expect(pairings({})).toEqual([]);
  expect(pairings({ judge: STAND_IN })).toEqual([
    { method: 'steering', against: 'base' },
    { method: 'sda', against: 'base' },
  ]);
  expect(pairings({ judge: STAND_IN, compare: [['sda', 'steering']] })).toEqual([
    { method: 'sda', against: 'steering' },
  ]);
});

describe('the settings that decide the numbers', () => {
  const deciding = (more: object) => decidingSettings(parse(more) as ExperimentConfig);
  const judge = { kind: 'openai', model: 'm' };

  test.each<[string, object, object]>([
    ['the batch', { batch: 1 }, { batch: 9 }],
    ['the name', { name: 'a' }, { name: 'b' }],
    ['retries', { judge: { ...judge, max_retries: 0 } }, { judge: { ...judge, max_retries: 9 } }],
    ['the cache', { judge: { ...judge, cache_dir: 'a' } }, { judge: { ...judge, cache_dir: 'b' } }],
    ['a default written out', {}, { decoding: { k: 2 } }],
  ])('do not hold %s', (_, one, other) => {
    expect(deciding(one)).toEqual(deciding(other));
  });

  test.each<[string, object, object]>([
    ['the seed', { seed: 0 }, { seed: 1 }],
    ['k', { decoding: { k: 2 } }, { decoding: { k: 3 } }],
    ['the judge', { judge }, { judge: { ...judge, model: 'other' } }],
    ['the comparisons', { judge }, { judge, compare: [['sda', 'base']] }],
    ['the rubric', { judge }, { judge: { ...judge, rubric: 'Mine.' } }],
    ['the instruction', { core: 'truthful' }, { core: 'empathy' }],
  ])('hold %s', (_, one, other) => {
    expect(deciding(one)).not.toEqual(deciding(other));
  });
});

test('the settings name the server, the model and the rubric that are meant', () => {
  const config = parse({ judge: { kind: 'openai' }, core: 'empathy' });
  expect(decidingSettings(config, {})).toMatchObject({
    judge: { base_url: 'https://api.openai.com/v1', model: 'gpt-4.1', rubric: RUBRICS.empathy },
  });
  const elsewhere = decidingSettings(config, { OPENAI_BASE_URL: 'http://127.0.0.1:8000/v1' });
  expect(elsewhere).toMatchObject({ judge: { base_url: 'http://127.0.0.1:8000/v1' } });
});

test('a query has one seed of 32 bits, which depends on the run’s seed and its id alone', () => {
  const seeds = Array.from({ length: 500 }, (_, item) => itemSeed(0, `q${item}`));
  expect(new Set(seeds).size).toBe(500);
  expect(seeds.every((seed) => Number.isInteger(seed) && seed >= 0 && seed < 2 ** 32)).toBe(true);
  expect(itemSeed(0, 'q1')).toBe(seeds[1]);
  expect(itemSeed(1, 'q1')).not.toBe(seeds[1]);
});
