import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { describe, expect, test } from 'vitest';
import { ruleFingerprint } from '../../src/generate/rule-file.js';
import { packageRoot } from '../../src/runtime/paths.js';
import { sda } from '../support/cli.js';
import { tinyExperiment } from '../support/experiments.js';
import { temporaryFolder } from '../support/folders.js';
import { otherWeights } from '../support/other-weights.js';

const API = JSON.stringify(pathToFileURL(join(packageRoot(), 'dist/src/index.js')).href);

/** A folder with a rule whose formula is in a file beside it, and with what `weight` is by default. */
function ruleFolder(weight: string): { file: string; beside: string } {
  const dir = temporaryFolder();
  const [file, beside] = [join(dir, 'away.mjs'), join(dir, 'blend.mjs')];
  writeFileSync(
    beside,
    `export const blend = ({ weight }) => ({ anchor: 'told', weights: { amateur: -weight } });`,
  );
  writeFileSync(
    file,
    `import { blendRule, RULES } from ${API};
     import { blend } from './blend.mjs';
     const { weight } = RULES.find(({ name }) => name === 'cfg').settings.shape;
     export default blendRule({
       name: 'away', title: 'T', formula: 'F', source: 'S',
       streams: { told: { adds: 'instruction' }, amateur: { model: 'amateur' } },
       settings: { weight: weight.default(${weight}) },
       blend,
     });`,
  );
  return { file, beside };
}

interface Entry {
  readonly rule: string;
  readonly settings?: object;
}

/** The same rule with a model for the run and with one of its own. */
async function experimentOf(rule: string, more: Partial<Entry> & object = {}) {
  const [ofRun, own] = [await otherWeights(), await otherWeights('tiny-llama')];
  writeFileSync(join(own, 'generation_config.json'), '{"eos_token_id": 2}'); // another fingerprint
  return tinyExperiment(
    {
      methods: ['instructed'],
      rules: [
        { name: 'file', rule, ...more },
        { name: 'file-own', rule, models: { amateur: { dir: own } } },
        { name: 'contrast', rule: 'cd-beta', models: { amateur: { dir: ofRun } } },
        { name: 'lens', rule: 'dola', settings: { layers: [0, 1] } },
        {
          name: 'asked-nothing',
          rule: 'cfg',
          streams: { unconditional: { query: 'N/A' }, conditional: { ids: [5, 6, 7] } },
        },
      ],
      models: { amateur: { dir: ofRun } },
      evaluator: { kind: 'fixed', score: 35 },
    },
    3,
  );
}

interface Row {
  readonly id: string;
  readonly value: {
    readonly rule: string;
    readonly text: string;
    readonly settings: Record<string, unknown>;
    readonly promptTokens: Record<string, number>;
    readonly trace: { readonly statistics: Record<string, number[]>; readonly logps: object };
  };
}

const rowsOf = (dir: string, method: string): Row[] =>
  readFileSync(join(dir, 'rows', `respond-${method}.jsonl`), 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Row)
    .filter(({ value }) => value);

describe('an experiment with rule files', () => {
  test('decodes, goes on, and is shown under the names of its files', {
    timeout: 240_000,
  }, async () => {
    const { file: rule, beside } = ruleFolder('1.7');
    const experiment = await experimentOf(rule);
    const dir = experiment.newRun();
    const run = () => sda(['run', experiment.file, '--out', dir]);
    const first = await run();
    expect([first.code, first.stderr]).toEqual([0, expect.any(String)]);
    const all = rowsOf(dir, 'file');
    expect(all).toHaveLength(3);
    for (const { value } of all) {
      expect(value).toMatchObject({ rule: 'away.mjs', settings: { weight: 1.7, topP: 0.95 } });
      expect(Object.keys(value.trace.logps)).toEqual(['told', 'amateur']);
    }
    const texts = (method: string) => rowsOf(dir, method).map(({ value }) => value.text);
    expect(texts('file-own')).toEqual(texts('file')); // the same weights, elsewhere
    expect(texts('contrast')).not.toEqual(texts('file'));
    for (const { value } of rowsOf(dir, 'lens')) {
      expect(value.settings.layers).toEqual([0, 1]);
      expect(value.trace.statistics.layer!.every((layer) => [0, 1].includes(layer))).toBe(true);
      expect(Object.keys(value.trace.logps)).toEqual(['mature', 'premature']);
    }
    for (const { value } of rowsOf(dir, 'asked-nothing')) {
      expect(value.promptTokens.conditional).toBe(3);
    }
    expect(first.stdout).toMatch(/file +away\.mjs: weight 1\.7/);
    expect(first.stdout).toMatch(/lens +dola: alpha 0\.1, layers \[0,1\], norm true/);
    const report = await sda(['report', dir]);
    expect(report.code).toBe(0);

    writeFileSync(beside, `${readFileSync(beside, 'utf8')}\n// changed\n`);
    const changed = await run();
    expect(changed.code).toBe(1);
    expect(changed.stderr).toMatch(
      /rules\.file\.rule_fingerprint was "[0-9a-f]{16}", is "[0-9a-f]{16}"/,
    );
  });

  test('refuses another model of one rule', { timeout: 240_000 }, async () => {
    const { file: rule } = ruleFolder('1.7');
    const experiment = await experimentOf(rule);
    const dir = experiment.newRun();
    const run = () => sda(['run', experiment.file, '--out', dir]);
    expect((await run()).code).toBe(0);
    const { rules } = JSON.parse(readFileSync(experiment.file, 'utf8')) as {
      rules: { models: { amateur: { dir: string } } }[];
    };
    writeFileSync(
      join(rules[1]!.models.amateur.dir, 'generation_config.json'),
      '{"eos_token_id": 3}',
    );
    const { code, stderr } = await run();
    expect(code).toBe(1);
    expect(stderr).toContain('models_fingerprints.file-own.amateur was');
  });

  test.each<[string, (rule: string) => Promise<object>, RegExp]>([
    [
      'a file that is not there',
      async () => ({ rules: [{ name: 'x', rule: './no.mjs' }] }),
      /The rule \.\/no\.mjs does not exist/,
    ],
    [
      'a setting out of range',
      async (rule) => ({
        rules: [{ name: 'x', rule, settings: { weight: 'much' } }],
        models: { amateur: { dir: await otherWeights() } },
      }),
      /rules, x: The setting weight of the rule away is much: it must be a finite number\./,
    ],
    [
      'a model under a name that the rule does not have',
      async (rule) => ({
        rules: [{ name: 'x', rule, models: { amatuer: { dir: await otherWeights() } } }],
      }),
      /rules, x: The stream amateur is run by the model "amateur", which is not given/,
    ],
    [
      'a model of the run that each rule has of its own',
      async (rule) => {
        const amateur = { dir: await otherWeights() };
        return { rules: [{ name: 'x', rule, models: { amateur } }], models: { amateur } };
      },
      /models: no stream of a rule of this run is run by "amateur"/,
    ],
  ])('refuses %s', async (_, more, message) => {
    const { file: rule } = ruleFolder('1');
    const experiment = tinyExperiment({ methods: ['instructed'], ...(await more(rule)) });
    const { code, stderr } = await sda(['run', experiment.file, '--out', experiment.newRun()]);
    expect(code).toBe(1);
    expect(stderr).toMatch(message);
    expect(stderr).toMatch(/^error: [^\n]+\.\n$/);
  });
});

describe('the fingerprint of a rule file', () => {
  test('is of what it and the files beside it hold, wherever they lie', () => {
    const [one, other] = [ruleFolder('1'), ruleFolder('1')];
    const before = ruleFingerprint(one.file);
    expect(before).toMatch(/^[0-9a-f]{16}$/);
    expect(ruleFingerprint(other.file)).toBe(before);
    writeFileSync(other.beside, `${readFileSync(other.beside, 'utf8')} `);
    expect(ruleFingerprint(other.file)).not.toBe(before);
    expect(ruleFingerprint(ruleFolder('2').file)).not.toBe(before);
    writeFileSync(one.beside, `${readFileSync(one.beside, 'utf8')}\nexport * from './away.mjs';`);
    expect(ruleFingerprint(one.file)).not.toBe(before); // in a circle
  });
});
