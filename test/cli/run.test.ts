import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { lockFolder } from '../../src/experiment/store/lock.js';
import { sda } from '../support/cli.js';
import { resultsOf, tinyExperiment } from '../support/experiments.js';
import { temporaryFolder } from '../support/folders.js';

/** An evaluator with a score for q7 alone. */
function scoresOfOne(): object {
  const path = join(temporaryFolder(), 'scores.jsonl');
  writeFileSync(path, '{"id": "q7", "score": 50}\n');
  return { kind: 'file', path };
}

describe('sda run', () => {
  test('runs an experiment, prints its table, and does nothing twice', async () => {
    const { file, newRun } = tinyExperiment();
    const out = newRun();
    const first = await sda(['run', file, '--out', out, '--report']);
    expect(first.code).toBe(0);
    expect(first.stdout).toMatch(/^model .*\ntiny-llama +data +helpfulness +instructed +full +6 /);
    expect(first.stderr).toContain('respond-sda 6/6');
    expect(first.stderr).toContain('a stand-in scored or judged');
    expect(readFileSync(join(out, 'report.html'), 'utf8')).toMatch(/^<!doctype html>/);
    const before = resultsOf(out);
    const again = await sda(['run', file, '--out', out]);
    expect(again.code).toBe(0);
    expect(again.stdout).toBe(first.stdout);
    expect(again.stderr).toContain('respond-sda 6/6, there already');
    expect(resultsOf(out)).toEqual(before);
  });

  test.each([1, 2])(
    'where every item failed ends with exit code 1, in session %i',
    async (last) => {
      const { file, newRun } = tinyExperiment({ evaluator: scoresOfOne() }, 2);
      const out = newRun();
      for (let session = 1; session < last; session++) await sda(['run', file, '--out', out]);
      const { code, stderr } = await sda(['run', file, '--out', out]);
      expect(code).toBe(1);
      expect(stderr).toMatch(/score: every item failed: .* has no score for the id "q0"/);
      expect(stderr).toMatch(/judge-sda: every item failed: /);
      expect(stderr).not.toContain('instructed: every item failed');
    },
  );

  test('where one item failed ends with exit code 0', async () => {
    const { file, newRun } = tinyExperiment({ evaluator: scoresOfOne() }, 8);
    const { code, stderr } = await sda(['run', file, '--out', newRun()]);
    expect(code).toBe(0);
    expect(stderr).toContain('score: 7 failed; the same command goes on with them');
  });

  test('--check prints the whole configuration and makes nothing', async () => {
    const { file } = tinyExperiment();
    const { code, stdout, stderr } = await sda(['run', file, '--check']);
    expect(code).toBe(0);
    expect(stdout).toMatch(/^ {2}sigma: 0\.01$/m);
    expect(stderr).toContain('data set data: 6 queries, the first: "What is 0?"');
  });

  test('refuses a folder that another process writes, and names it', async () => {
    const { file, newRun } = tinyExperiment();
    const out = newRun();
    expect((await sda(['run', file, '--out', out])).code).toBe(0);
    const release = lockFolder(out);
    const { code, stderr } = await sda(['run', file, '--out', out]);
    release();
    expect(code).toBe(1);
    expect(stderr).toContain(`is being written by process ${process.pid}`);
  });

  test('refuses other settings for the same folder', async () => {
    const { file, newRun } = tinyExperiment();
    const out = newRun();
    expect((await sda(['run', file, '--out', out])).code).toBe(0);
    const config = JSON.parse(readFileSync(file, 'utf8')) as object;
    writeFileSync(file, JSON.stringify({ ...config, decoding: { max_tokens: 13 } }));
    const { code, stderr } = await sda(['run', file, '--out', out]);
    expect(code).toBe(1);
    expect(stderr).toContain('was made with other settings (decoding.max_tokens was 12, is 13)');
  });

  const data = { file: 'examples/data/plain.jsonl', fields: { query: 'question' } };
  test.each<[string, string, RegExp]>([
    ['no such file', '', /The configuration .*none\.yaml cannot be read/],
    ['no YAML', 'a: [1', /is neither YAML nor JSON, line 1/],
    ['an unknown key', JSON.stringify({ data, modle: {} }), /unknown key modle \(known for/],
    [
      'a key of a server',
      JSON.stringify({ data, judge: { kind: 'openai', api_key: 'sk-1' } }),
      /environment variable/,
    ],
    [
      'no data set',
      JSON.stringify({ data: { ...data, file: 'no.jsonl' } }),
      /The data set no\.jsonl cannot be read/,
    ],
    [
      'no model',
      JSON.stringify({ data, model: { dir: 'no/model' } }),
      /The model folder no\/model does not exist/,
    ],
    [
      'no key for gpt-4.1',
      JSON.stringify({ data, judge: { kind: 'openai' } }),
      /OPENAI_API_KEY holds no key/,
    ],
  ])('with %s says so in one sentence', async (_, content, message) => {
    const dir = temporaryFolder();
    const file = join(dir, content === '' ? 'none.yaml' : 'c.yaml');
    if (content !== '') writeFileSync(file, content);
    const out = join(dir, 'out');
    const env = { OPENAI_API_KEY: '', OPENAI_BASE_URL: '' };
    const { code, stdout, stderr } = await sda(['run', file, '--out', out], { env });
    expect(code).toBe(1);
    expect(stdout).toBe('');
    expect(stderr).toMatch(message);
    expect(stderr).not.toContain('sk-1');
    expect(stderr.trim().split('\n')).toHaveLength(1);
  });

  test('Ctrl-C ends it with what is done, and the same command goes on', async () => {
    const { file, newRun } = tinyExperiment({ decoding: { max_tokens: 60 } }, 40);
    const out = newRun();
    const stopped = await sda(['run', file, '--out', out], {
      interruptAfterError: /respond-base 40\/40/,
    });
    expect(stopped.code).toBe(130);
    expect(stopped.stderr).toContain('the same command goes on');
    const finished = await sda(['run', file, '--out', out]);
    expect(finished.code).toBe(0);
    expect(finished.stderr).toContain('respond-base 40/40, there already');
  });
});
