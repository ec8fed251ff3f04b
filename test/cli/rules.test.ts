import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { RULES } from '../../src/rules/catalogue.js';
import type { Rule } from '../../src/rules/define.js';
import { packageRoot } from '../../src/runtime/paths.js';
import { sda, sdaJson } from '../support/cli.js';
import { otherWeights, withText } from '../support/other-weights.js';

interface Listed {
  name: string;
  title: string;
  formula: string;
  source: string;
  streams: { name: string; adds: string | null; model: string | null }[];
  settings: { name: string; flag: string; range: string; default: unknown; meaning: string }[];
}

describe('sda rules', () => {
  it('lists every rule with streams and settings as the catalogue has them', async () => {
    const listed = await sdaJson<Listed[]>(['rules']);
    const { code, stdout } = await sda(['rules']);
    expect(code).toBe(0);
    expect(listed.map(({ name }) => name)).toEqual(RULES.map(({ name }) => name));
    for (const [index, rule] of (RULES as readonly Rule[]).entries()) {
      const { name, title, formula, source, streams, settings } = listed[index]!;
      expect({ name, title, formula, source }).toMatchObject({
        name: rule.name,
        title: rule.title,
        formula: rule.formula,
        source: rule.source,
      });
      expect(Object.keys(rule.streams)).toEqual(streams.map((stream) => stream.name));
      // what is said of defaults is what the schema fills in, and every setting has a meaning
      const defaults = Object.fromEntries(settings.map((each) => [each.name, each.default]));
      expect(rule.settings.parse({})).toEqual(defaults);
      for (const { meaning } of settings) expect(meaning).not.toBe('');
      expect(stdout).toContain(`${name}  ${title}\n`);
    }
  });

  it('says ranges that the rules hold to', async () => {
    const settings = async (name: string) =>
      Object.fromEntries(
        (await sdaJson<Listed>(['rules', name])).settings.map(({ name: of, range }) => [of, range]),
      );
    expect(await settings('cd')).toMatchObject({
      alpha: '0..1',
      amateurTemperature: 'above 0',
      topK: 'a whole number, at least 0',
      greedy: '',
    });
    expect(await settings('sda')).toMatchObject({
      mode: 'sda, steering, scaling, instructed, base',
      t0: 'at least 0',
    });
  });

  it('shows one with an example, which works', { timeout: 300_000 }, async () => {
    const dir = withText();
    const other = await otherWeights();
    for (const name of ['sda', 'cfg', 'dexperts', 'edt']) {
      const { stdout } = await sda(['rules', name]);
      const example = / {2}sda (generate .*)\n$/.exec(stdout)?.[1] ?? '';
      const words = [...example.matchAll(/"([^"]*)"|\S+/g)].map(([word, quoted]) =>
        (quoted ?? word).replace('=DIR', `=${other}`),
      );
      const { code, stderr } = await sda([...words, '--model', dir, '--max-tokens', '2']);
      expect([code, stderr]).toEqual([0, expect.stringMatching(/^2 tokens /)]);
    }
  });

  it('names those that there are where a name is wrong', async () => {
    const { code, stderr } = await sda(['rules', 'cgf']);
    expect(code).toBe(1);
    expect(stderr).toMatch(/^error: There is no rule "cgf": the rules are sda, .*cfg.*\.\n$/);
  });
});

describe('the rule of one’s own in the pages', () => {
  it('is the one in examples, and type-checks against the package', () => {
    const file = join('examples', 'own-rule.mjs');
    const code = readFileSync(join(packageRoot(), file), 'utf8');
    expect(readFileSync(join(packageRoot(), 'docs', 'own-rule.md'), 'utf8')).toContain(
      `\`\`\`js\n${code}\`\`\``,
    );
    const compiler = createRequire(import.meta.url).resolve('typescript/bin/tsc');
    const options = ['--allowJs', '--checkJs', '--noEmit', '--strict', '--skipLibCheck'];
    const target = ['--module', 'nodenext', '--target', 'es2022', '--types', 'node'];
    const checked = () =>
      execFileSync(process.execPath, [compiler, ...options, ...target, file], {
        cwd: packageRoot(),
        encoding: 'utf8',
      });
    expect(checked()).toBe('');
  });
});
