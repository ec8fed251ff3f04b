import { spawn } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { hashOf } from '../../src/evaluate/hash.js';
import {
  decidingSettings,
  itemSeed,
  parseConfig,
  readConfig,
} from '../../src/experiment/config.js';
import { runExperiment } from '../../src/experiment/pipeline.js';
import type { RuleTrace, RunData } from '../../src/experiment/rows.js';
import { readRun } from '../../src/experiment/store/index.js';
import { summarizeRun } from '../../src/experiment/summary.js';
import { resultsTable } from '../../src/experiment/table.js';
import { loadModel } from '../../src/generate/sda-model.js';
import type { StepOf } from '../../src/generate/types.js';
import { amplify } from '../../src/method/amplification.js';
import type { BlendChoice } from '../../src/method/blend.js';
import { writeReport } from '../../src/report/index.js';
import { ruleNamed } from '../../src/rules/catalogue.js';
import type { Rule } from '../../src/rules/define.js';
import { readAll } from '../support/answers.js';
import { MAIN } from '../support/cli.js';
import { resultsOf, type TinyExperiment, tinyExperiment } from '../support/experiments.js';
import { copyOf, editJson } from '../support/folders.js';
import { otherWeights } from '../support/other-weights.js';
import { errorOf, useTensorFlow } from '../support/tensorflow.js';
import { addTokenizer } from '../support/tiny-tokenizer.js';

useTensorFlow();

const RULES = [
  { name: 'cfg-1.5', rule: 'cfg', settings: { weight: 1.5 } },
  { name: 'unkind', rule: 'cfg', settings: { weight: 2, topP: 0.8 }, negative: 'Be unkind.' },
  { name: 'contrast', rule: 'cd-beta', settings: { beta: 0.7 } },
  { name: 'sda-k3', rule: 'sda', settings: { k: 3 } },
];

/** An experiment with rules, one of which needs a second model. */
async function withRules(more: object = {}): Promise<TinyExperiment> {
  return tinyExperiment({
    methods: ['instructed'],
    rules: RULES,
    models: { amateur: { dir: await otherWeights() } },
    evaluator: { kind: 'fixed', score: 35 },
    ...more,
  });
}

async function run(
  experiment: Pick<TinyExperiment, 'file' | 'modelDir'>,
  dir: string,
  signal?: AbortSignal,
  onStage: (stage: string, done: number) => void = () => {},
): Promise<RunData> {
  await runExperiment(await readConfig(experiment.file), {
    dir,
    defaultModel: experiment.modelDir,
    openModel: loadModel,
    signal,
    onProgress: ({ stage, done }) => onStage(stage, done),
  });
  return readRun(dir);
}

function responseOf(data: RunData, method: string, id: string) {
  const row = data.responses.get(method)!.get(id)!;
  if (row.status !== 'done') throw new Error(row.failure.reason);
  return row.value;
}

describe('rules of an experiment', () => {
  test('are methods with the texts and numbers of single calls, in any batch', async () => {
    const experiment = await withRules();
    const data = await run(experiment, experiment.newRun());
    expect(data.header.methods).toEqual([
      ...['base', 'instructed', 'cfg-1.5', 'unkind', 'contrast', 'sda-k3'],
    ]);
    const amateurDir = (await readConfig(experiment.file)).models!.amateur!.dir;
    const [model, amateur] = [await loadModel(experiment.modelDir), await loadModel(amateurDir)];
    const a = amplify(35);
    try {
      for (const { name, rule, settings, negative } of RULES as (typeof RULES)[1][]) {
        const sampling = { temperature: 0.6, topP: 0.95 }; // of the run
        const whole =
          rule === 'sda' ? { ...settings, amplification: a } : { ...sampling, ...settings };
        for (const { id, query } of data.items) {
          const answer = model.generate(
            {
              query,
              instruction: 'Be kind.',
              negative,
              rule: ruleNamed(rule),
              settings: whole,
              seed: itemSeed(0, id),
              maxTokens: 12,
              date: new Date('2026-01-01T12:00:00'),
            },
            { models: { amateur } },
          );
          const { steps, summary } = await readAll(answer);
          const found = responseOf(data, name, id);
          expect(found, `${name} ${id}`).toMatchObject({ text: summary.text, rule });
          expect(found.settings).toMatchObject(whole);
          expect(found.a).toBe(rule === 'sda' ? a : null);
          if (rule === 'sda') continue;
          const trace = found.trace as RuleTrace;
          const short = (value: number) => Number(value.toPrecision(4));
          const said = steps as (StepOf<Rule> & BlendChoice)[]; // as all the others are
          expect(trace.statistics.js).toEqual(said.map(({ js }) => short(js)));
          for (const stream of Object.keys(ruleNamed(rule).streams)) {
            const column = said.map(({ logps }) => short(logps[stream]!));
            expect(trace.logps[stream]).toEqual(column);
          }
        }
      }
    } finally {
      model.dispose();
      amateur.dispose();
    }
    // other rules and settings, other texts
    const texts = (method: string) => data.items.map(({ id }) => responseOf(data, method, id).text);
    const all = ['base', ...RULES.map(({ name }) => name)].map((name) => texts(name).join());
    expect(new Set(all).size).toBe(all.length);

    const alone = await run(await withRules({ batch: 1 }), experiment.newRun());
    for (const { name } of RULES) {
      const others = alone.items.map(({ id }) => responseOf(alone, name, id).text);
      expect(others, name).toEqual(texts(name));
    }
  });

  test('are judged, counted, and named with their settings in table and report', async () => {
    const compare = [
      ['cfg-1.5', 'base'],
      ['contrast', 'instructed'],
    ];
    const experiment = await withRules({ compare, methods: ['instructed', 'cfg-1.5'] });
    const data = await run(experiment, experiment.newRun());
    const summary = summarizeRun(data);
    expect(summary.complete).toBe(true);
    expect(
      summary.comparisons.map(({ method, against, full }) => [method, against, full.judged]),
    ).toEqual(compare.map((pair) => [...pair, 6]));
    const [heading, first] = resultsTable([{ run: data, summary }]).split('\n');
    expect(heading).toMatch(/method +rule +against/);
    expect(first).toMatch(/cfg-1\.5 +cfg: weight 1\.5 +base/);
    expect(resultsTable([{ run: data, summary }], 'csv')).toContain('"temperature 0.6, topP 0.95');
    const { file } = await writeReport([data.dir]);
    const page = readFileSync(file, 'utf8');
    expect(page).toContain('["Rule contrast","cd-beta: alpha 0.1, beta 0.7"]');
    expect(summary.responses.find(({ method }) => method === 'contrast')!.js).toBeGreaterThan(0);
  });

  test('go on after an abort and after a kill, and come out the same', {
    timeout: 300_000,
  }, async () => {
    const experiment = await withRules();
    const whole = experiment.newRun();
    await run(experiment, whole);
    const expected = resultsOf(whole);
    for (const where of ['respond-cfg-1.5', 'respond-contrast', 'respond-sda-k3', 'judge-unkind']) {
      const dir = experiment.newRun();
      const controller = new AbortController();
      await run(experiment, dir, controller.signal, (stage, done) => {
        if (stage === where && done >= 2) controller.abort();
      });
      expect(resultsOf(dir), where).not.toEqual(expected);
      await run(experiment, dir);
      expect(resultsOf(dir), where).toEqual(expected);
    }
    const dir = experiment.newRun();
    for (const stage of ['respond-unkind', 'respond-contrast'])
      await killAt(experiment, dir, stage);
    await run(experiment, dir);
    expect(resultsOf(dir)).toEqual(expected);
  });

  test('with a changed setting are refused, and so is another model of a stream', async () => {
    const experiment = await withRules();
    const dir = experiment.newRun();
    await run(experiment, dir);
    const config = JSON.parse(readFileSync(experiment.file, 'utf8')) as {
      models: { amateur: { dir: string } };
    };
    const file = `${experiment.file}-changed.json`;
    const [first, ...others] = RULES;
    const changed = [{ ...first!, settings: { weight: 2.5 } }, ...others];
    writeFileSync(file, JSON.stringify({ ...config, rules: changed }));
    const error = await errorOf(() => run({ ...experiment, file }, dir));
    expect(String(error)).toContain('rules.cfg-1.5.settings.weight was 1.5, is 2.5');
    writeFileSync(join(config.models.amateur.dir, 'generation_config.json'), '{"eos_token_id": 2}');
    const other = await errorOf(() => run(experiment, dir));
    expect(String(other)).toContain('models_fingerprints.amateur was');
  });

  test('with a model of other tokens are refused before anything is decoded', async () => {
    const other = copyOf('tiny-llama');
    addTokenizer(other);
    const tokens = join(other, 'tokenizer.json');
    writeFileSync(tokens, readFileSync(tokens, 'utf8').replaceAll('"<|bot|>"', '"<|bat|>"'));
    const experiment = await withRules({ models: { amateur: { dir: other } } });
    const dir = experiment.newRun();
    const error = await errorOf(() => run(experiment, dir));
    expect(error).toMatchObject({ code: 'unsupported' });
    expect(String(error)).toMatch(/The token 4 is /);
    expect(existsSync(dir)).toBe(false);
  });

  test('that a query is too long for fail alone', async () => {
    const amateur = await otherWeights();
    editJson(join(amateur, 'config.json'), { max_position_embeddings: 256 });
    const experiment = await withRules({
      decoding: { max_tokens: 4 },
      models: { amateur: { dir: amateur } },
    });
    const { data: spec } = JSON.parse(readFileSync(experiment.file, 'utf8')) as {
      data: { file: string };
    };
    const long = JSON.stringify({ id: 'long', text: 'x'.repeat(250) }); // not with an instruction
    writeFileSync(spec.file, `${readFileSync(spec.file, 'utf8')}${long}\n`);
    const data = await run(experiment, experiment.newRun());
    expect(data.responses.get('base')!.get('long')).toMatchObject({ status: 'failed' });
    expect(data.responses.get('cfg-1.5')!.get('long')).toMatchObject({
      failure: { kind: 'bad-prompt', reason: expect.stringMatching(/the context holds 256/) },
    });
    expect(responseOf(data, 'contrast', 'long').tokens).toBeGreaterThan(0);
    expect(responseOf(data, 'cfg-1.5', 'q1').tokens).toBeGreaterThan(0);
  });
});

/** Runs until a stage has a row, and kills. */
async function killAt({ file }: TinyExperiment, dir: string, stage: string): Promise<void> {
  const child = spawn(process.execPath, [MAIN, 'run', file, '--out', dir], { stdio: 'ignore' });
  const ended = new Promise((resolve) => child.on('close', resolve));
  const rows = join(dir, 'rows');
  const begun = () => existsSync(rows) && readdirSync(rows).includes(`${stage}.jsonl`);
  while (child.exitCode === null && !begun()) await sleep(2);
  child.kill('SIGKILL');
  await ended;
}

describe('a configuration of rules', () => {
  const DATA = { file: 'examples/data/plain.jsonl', fields: { query: 'query' } };
  const parse = (more: object) => parseConfig({ data: DATA, ...more }, 'test');
  const one = (entry: object) => ({ rules: [{ name: 'x', rule: 'cfg', ...entry }] });

  test('leaves the hash of one without them as it was', () => {
    const hash = (more: object) => hashOf(decidingSettings(parse(more), {}));
    expect(hash({})).toBe('e524640fb734756141d19b8566e45e15acbdb5c7600e10f17a845ab8fa9c1a09');
    const larger = {
      methods: ['sda', 'steering'],
      judge: { kind: 'stand-in' },
      evaluator: { kind: 'fixed', score: 40 },
      compare: [['sda', 'steering']],
      decoding: { k: 3 },
      model: { dir: 'models/x', adapters: ['a'] },
    };
    expect(hash(larger)).toBe('28ca930849ebeb6e73f4d922533bd8d8b2f659e332448b764d5ce10c0fbfc8fa');
  });

  test('draws as the run does, where a rule does not say how', () => {
    const decoding = { t0: 0.9, top_p: 0.5, greedy: true, k: 7 };
    const { rules } = decidingSettings(
      parse({
        decoding,
        rules: [
          { name: 'a', rule: 'cfg', settings: { topP: 0.7 } },
          { name: 'b', rule: 'sda' },
          { name: 'c', rule: 'sda', settings: { amplification: 1, k: 2 } },
        ],
      }),
    ) as { rules: Record<string, { settings: object }> };
    expect(rules.a!.settings).toMatchObject({ temperature: 0.9, topP: 0.7, greedy: true });
    expect(rules.b!.settings).toMatchObject({ t0: 0.9, topP: 0.5, k: 7 });
    expect(rules.b!.settings).not.toHaveProperty('amplification'); // the score gives it
    expect(rules.c!.settings).toMatchObject({ amplification: 1, k: 2 });
  });

  test.each<[string, object, RegExp]>([
    ['an unknown rule', one({ rule: 'cgf' }), /^test\.rules, x: There is no rule "cgf": .*cfg/],
    [
      'an unknown setting',
      one({ settings: { k: 1 } }),
      /^test\.rules, x: .*no setting "k".*weight/,
    ],
    ['a value out of range', one({ settings: { topP: 3 } }), /^test\.rules, x: .*topP .* is 3: /],
    ['an unknown stream', one({ streams: { base: {} } }), /no stream "base".*conditional, unc/],
    ['an unknown key', one({ weight: 1 }), /^test\.rules\.0: unknown key weight/],
    ['a negative text of no use', one({ rule: 'cad', negative: 'x' }), /cad adds "negative"/],
    ['a missing model', one({ rule: 'cd' }), /amateur is run by the model "amateur", which is not/],
    ['a model of no use', { models: { amateur: { dir: 'x' } } }, /^test\.models: .*by "amateur"/],
    ['a name of a method', one({ name: 'sda' }), /^test\.rules\.0\.name: is a method already/],
    ['a name that is a path', one({ name: '../x' }), /^test\.rules\.0\.name: must be a name/],
    ['a name of a comparison', one({ name: 'a-vs-b' }), /must not hold "-vs-"/],
    [
      'a name twice',
      { rules: ['x', 'X'].map((name) => ({ name, rule: 'cfg' })) },
      /must not have a name twice/,
    ],
    ['an unknown method beside them', { ...one({}), methods: ['y'] }, /methods\.0: .*"y".*, x\.$/],
  ])('refuses %s', async (_, more, message) => {
    const error = await errorOf(() => parse(more));
    expect(error).toMatchObject({ code: 'bad-input', message: expect.stringMatching(message) });
    expect(error.message).toMatch(/^[^\n]+\.$/);
  });

  test('example files can be read', async () => {
    const { rules } = await readConfig('examples/rules.yaml');
    expect(rules!.length).toBeGreaterThan(1);
  });
});
