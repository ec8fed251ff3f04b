import { readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import {
  cruise,
  type IConfiguration,
  type ICruiseOptions,
  type ICruiseResult,
} from 'dependency-cruiser';
import extractTSConfig from 'dependency-cruiser/config-utl/extract-ts-config';
import { beforeAll, describe, expect, it } from 'vitest';
import { packageRoot } from '../../src/runtime/paths.js';

const ROOT = packageRoot();
const rules = createRequire(import.meta.url)(
  join(ROOT, '.dependency-cruiser.cjs'),
) as IConfiguration;

async function check(paths: string[], baseDir: string): Promise<ICruiseResult> {
  const options: ICruiseOptions = {
    ...rules.options,
    baseDir,
    ruleSet: { forbidden: rules.forbidden ?? [] },
    validate: true,
  };
  const { output } = await cruise(paths, options, undefined, {
    tsConfig: extractTSConfig(join(ROOT, 'tsconfig.json')),
  });
  return output as ICruiseResult;
}

function sources(folder: string): string[] {
  return readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.ts') && !file.endsWith('.d.ts'))
    .map((file) => join(folder, file));
}

/** A file without its comments and strings, such as the programs that it hands to other processes. */
function codeOf(file: string): string {
  return readFileSync(join(ROOT, file), 'utf8')
    .replace(/\/\*[\s\S]*?\*\/|\/\/.*/g, '')
    .replace(/`[^`]*`|'[^'\n]*'|"[^"\n]*"/g, "''");
}

describe('imports', () => {
  let result: ICruiseResult;
  beforeAll(async () => {
    result = await check(['src', 'kernels'], ROOT);
  });

  it('go down and inwards only', () => {
    const broken = result.summary.violations.map(
      ({ rule, from, to }) => `${rule.name}: ${from} -> ${to}`,
    );
    expect(broken).toEqual([]);
  });

  it('are all seen by the check', () => {
    const seen = new Set(result.modules.map(({ source }) => source));
    expect(sources('src').filter((file) => !seen.has(file))).toEqual([]);
    const step = result.modules.find(({ source }) => source === 'src/method/step.ts');
    expect(step?.dependencies.map(({ resolved }) => resolved)).toContain('kernels/step/index.ts');
  });

  it('that go the wrong way are found', async () => {
    const wrong = await check(['src'], join(ROOT, 'test', 'fixtures', 'wrong-layers'));
    const names = wrong.summary.violations.map(({ rule, from }) => `${from}: ${rule.name}`);
    expect(names.sort()).toEqual([
      'src/cycle-a.ts: no cycles',
      'src/method/knows-a-model.ts: layer src/method/',
      'src/model/prints.ts: layer src/model/',
      'src/model/prints.ts: nothing imports the command line',
    ]);
  });
});

describe('below the command line', () => {
  it.each([
    ['prints', /\bconsole\.|process\.(stdout|stderr)\b/],
    ['exits', /process\.(exit\(|exitCode|abort\()/],
  ])('nothing %s', (_, pattern) => {
    const files = [...sources('src'), ...sources('kernels')].filter(
      (file) => !file.startsWith(join('src', 'cli')),
    );
    expect(files.length).toBeGreaterThan(30);
    expect(files.filter((file) => pattern.test(codeOf(file)))).toEqual([]);
  });
});
