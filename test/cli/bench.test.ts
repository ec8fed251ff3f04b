import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { checkpointDir } from '../support/checkpoints.js';
import { NODE_VERSION, sda, sdaJson } from '../support/cli.js';
import { copyOf, temporaryFolder } from '../support/folders.js';
import { addTokenizer, TINY_TEMPLATE } from '../support/tiny-tokenizer.js';

interface Summary {
  median: number;
  p20: number;
  p80: number;
  samples: number[];
}

interface Report {
  date: string;
  machine: Record<string, unknown>;
  versions: Record<string, unknown>;
  kernels: string;
  model: Record<string, unknown>;
  settings: Record<string, unknown>;
  prompts: Record<string, unknown>;
  variants: Record<string, Record<string, Summary | number>>;
  ratios: Record<string, Summary>;
  phases: Record<string, Summary>;
  agreement: Record<string, number>;
  memory: Record<string, unknown>;
}

const TINY = ['bench', '--model', checkpointDir('tiny-llama'), '--tokens', '4', '--repeats', '2'];

describe('sda bench', () => {
  it('--json holds settings, machine, versions and every sample', async () => {
    const report = await sdaJson<Report>([...TINY, '--dtype', 'float32']);
    expect(Number.isNaN(Date.parse(report.date))).toBe(false);
    expect(Object.keys(report.machine)).toEqual([
      'platform',
      'cpu',
      'cores',
      'memory_bytes',
      'threads',
      'device',
      'gpu',
    ]);
    expect(report.versions).toMatchObject({ node: NODE_VERSION.slice(1), tfjs: '4.22.0' });
    expect(report.versions.tensorflow).toMatch(/^\d+\.\d+/);
    expect(['native', 'reference']).toContain(report.kernels);
    expect(report.model).toMatchObject({ model_type: 'llama', dtype: 'float32' });
    expect(report.settings).toMatchObject({ mode: 'sda', top_p: 0.95, tokens: 4, repeats: 2 });
    expect(report.prompts).toEqual({ base: 24, instructed: 48, shared: 23, source: 'ids' });
    expect(Object.keys(report.variants)).toEqual(['plain', 'sda', 'sequential']);
    for (const { step_ms, prefill_ms, tokens_per_second, limit_ms } of Object.values(
      report.variants,
    )) {
      for (const summary of [step_ms, prefill_ms, tokens_per_second] as Summary[]) {
        expect(summary.samples).toHaveLength(2);
        expect(summary.p20).toBeLessThanOrEqual(summary.p80);
      }
      expect(limit_ms).toBeGreaterThan(0);
    }
    expect(Object.keys(report.ratios)).toEqual(['sda_to_plain', 'sequential_to_sda']);
    expect(Object.keys(report.phases)).toEqual(['forward', 'step', 'sample', 'read', 'rest']);
    expect(report.agreement.composed).toBe(4);
    expect(report.memory.bandwidth).toHaveProperty(`${report.memory.probe}.median`);
    expect(report.memory.peak_rss_bytes).toBeGreaterThan(1e7);
  });

  it('prints a table and writes a chart; --greedy and the settings show in both', async () => {
    const chart = join(temporaryFolder(), 'chart.svg');
    const { code, stdout, stderr } = await sda([...TINY, '--greedy', '--chart', chart]);
    expect(stderr).toMatch(/^measuring 3 rounds.*\nchart written to .*chart\.svg\n$/);
    expect(code).toBe(0);
    expect(stdout).toMatch(/prompts of 24 and 48 tokens \(23 shared\), 4 tokens greedy, 2 rounds/);
    expect(stdout).toMatch(/plain, one stream +\d+\.\d\d \(\d+\.\d\d-\d+\.\d\d\).* 1\.00x/);
    expect(stdout).toMatch(/read bandwidth, \w+ \(gives the limit\) +\d+\.\d .*GB\/s/);
    expect(readFileSync(chart, 'utf8')).toMatch(/^<svg .*<\/svg>$/s);
  });

  it('--prompt-tokens sets the longer prompt, of text where there is a template', async () => {
    const dir = copyOf('tiny-llama');
    addTokenizer(dir, TINY_TEMPLATE);
    const long = ['--prompt-tokens', '121', '--tokens', '4', '--repeats', '1'];
    const tooShort = await sda(['bench', '--model', dir, ...long]);
    // one token a character: the query and the instruction are longer than that
    expect(tooShort.stderr).toMatch(/\nerror: --prompt-tokens must be at least \d+ .* is 121\.\n$/);
    expect(tooShort.code).toBe(2);
    const ids = await sdaJson<Report>(['bench', '--model', checkpointDir('tiny-llama'), ...long]);
    expect(ids.prompts).toMatchObject({ base: 61, instructed: 121 });
  });

  it('ends by Ctrl-C with 130 and says so', async () => {
    const options = ['--model', checkpointDir('tiny-llama'), '--tokens', '60', '--repeats', '500'];
    const { code, stdout, stderr } = await sda(['bench', ...options], { interruptAfterError: /./ });
    expect(stderr).toMatch(/^measuring .*\nerror: The benchmark was stopped\.\n$/);
    expect(stdout).toBe('');
    expect(code).toBe(130);
  });

  it.each([
    ['one token', ['--tokens', '1'], 2, /--tokens.*at least 2/],
    ['no round', ['--repeats', '0'], 2, /--repeats.*at least 1/],
    ['a fraction', ['--prompt-tokens', '2.5'], 2, /--prompt-tokens.*whole number/],
    ['an unknown dtype', ['--dtype', 'float64'], 2, /--dtype.*bfloat16/],
    ['a type twice', ['--dtypes', 'int8,int8'], 2, /--dtypes.*different ones of auto/],
    ['an unknown type among several', ['--dtypes', 'int8,int7'], 2, /different ones of auto/],
    [
      'types and a type',
      ['--dtypes', 'int8', '--dtype', 'int4'],
      2,
      /--dtype and --dtypes exclude/,
    ],
    ['caches and a cache', ['--kvs', 'float32', '--kv', 'bfloat16'], 2, /--kv and --kvs exclude/],
    ['a chart of caches', ['--kvs', 'bfloat16', '--chart', 'c'], 2, /--chart and --kvs exclude/],
    ['an unknown cache', ['--kvs', 'int8'], 2, /--kvs.*different ones of float32, bfloat16/],
    [
      'a text that is not there',
      ['--dtypes', 'int8', '--text', '/no/t'],
      2,
      /--text \/no\/t cannot/,
    ],
    ['a chart in no folder', ['--chart', '/nowhere/at/all/c.svg'], 2, /--chart .*existing folder/],
    ['more than the context holds', ['--tokens', '200'], 1, /take 248 positions.*holds 128/],
  ])('refuses %s', async (_, options, exitCode, message) => {
    const { code, stdout, stderr } = await sda([...TINY, ...options]);
    expect(stderr).toMatch(message);
    expect(stderr).toMatch(/^(measuring .*\n)?error: [^\n]+\n/);
    expect(stdout).toBe('');
    expect(code).toBe(exitCode);
  });

  it('--dtypes compares types of weights', async () => {
    const dir = copyOf('tiny-llama');
    addTokenizer(dir);
    const options = [
      'bench',
      '--model',
      dir,
      '--tokens',
      '3',
      '--repeats',
      '2',
      '--text-tokens',
      '9',
    ];
    const { code, stdout, stderr } = await sda([...options, '--dtypes', 'float32,int8,int4']);
    expect(stderr).toBe('measuring 3 rounds, the first of them to warm up\n');
    expect(stdout).toMatch(/\nfloat32 +[\d.]+ kB .*\nint8 +[\d.]+ kB .*x .*\nint4 /);
    expect(stdout).toMatch(
      /\nagainst float32, 9 tokens of text .*\nint8 +0\.0\d+ .*\nint4 +0\.\d+ /,
    );
    expect(code).toBe(0);
    const { dtypes } = await sdaJson<{ dtypes: { dtype: string; times_first: Summary | null }[] }>([
      ...options,
      '--dtypes',
      'auto,int8',
      '--text-tokens',
      '0',
    ]);
    expect(dtypes.map(({ dtype }) => dtype)).toEqual(['float32', 'int8']);
    expect(dtypes[1]!.times_first!.samples).toHaveLength(2);
  });

  it('--kvs compares types of the cache with each type of weights', async () => {
    const dir = copyOf('tiny-llama');
    addTokenizer(dir);
    const lists = ['--dtypes', 'float32,int8', '--kvs', 'float32,bfloat16'];
    const settings = ['--tokens', '3', '--repeats', '1', '--text-tokens', '9'];
    const { code, stdout } = await sda(['bench', '--model', dir, ...settings, ...lists]);
    expect(stdout).toMatch(
      /\nfloat32, cache float32 .*\nfloat32, cache bfloat16 .*\nint8, cache f/,
    );
    const near = /\nagainst float32, cache float32, 9 .*\nfloat32, cache bfloat16 +0\.0000\d +/;
    expect(stdout).toMatch(near);
    expect(code).toBe(0);
  });

  it('leaves no chart behind where there is no model', async () => {
    const dir = temporaryFolder();
    const chart = join(dir, 'chart.svg');
    const { code, stderr } = await sda(['bench', '--model', dir, '--chart', chart]);
    expect(stderr).toMatch(/has no config\.json/);
    expect(code).toBe(1);
    expect(existsSync(chart)).toBe(false);
  });
});
