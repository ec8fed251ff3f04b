import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import { describe, expect, it, onTestFinished } from 'vitest';
import { addScoreOptions, evaluatorSpec, type ScoreOptions } from '../../src/cli/score-options.js';
import { scoreRows } from '../../src/cli/score-rows.js';
import { intrinsicEvaluator } from '../../src/evaluate/intrinsic-evaluator.js';
import { loadModel } from '../../src/index.js';
import { amplify } from '../../src/method/amplification.js';
import { type CliResult, sda } from '../support/cli.js';
import { copyOf, temporaryFolder } from '../support/folders.js';
import {
  type Behaviour,
  echoesKey,
  judgeServer,
  says,
  slow,
  unauthorized,
} from '../support/judge-server.js';
import { errorOf } from '../support/tensorflow.js';
import { addTokenizer, TINY_TEMPLATE } from '../support/tiny-tokenizer.js';

const KEY = 'sekrit/key+0123456789';
const ONE = ['--query', 'How are you?', '--response', 'Well, thank you.'];

interface Line {
  readonly id?: string;
  readonly status: string;
  readonly score?: number;
  readonly a?: number;
  readonly kind?: string;
  readonly [key: string]: unknown;
}

function score(args: readonly string[], env: Record<string, string> = {}): Promise<CliResult> {
  return sda(['score', ...args], {
    env: { OPENAI_API_KEY: KEY, OPENAI_BASE_URL: '', ...env },
  });
}

async function openai(script: Behaviour[], args: readonly string[]) {
  const server = await judgeServer(...script);
  const result = await score(['--evaluator', 'openai', '--base-url', server.url, ...args]);
  return { server, ...result };
}

const linesOf = ({ stdout }: CliResult) =>
  stdout
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Line);

function jsonl(...rows: readonly object[]): string {
  const file = join(temporaryFolder(), 'responses.jsonl');
  writeFileSync(file, rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
  return file;
}

/** Judges by the response: "good 80" is 80. */
const byResponse = slow(
  50,
  says(({ body }) => {
    const [, number] = /good (\d+)/.exec(body.messages![0]!.content)!;
    return `{"score": ${number}}`;
  }),
);

describe('sda score, one response', () => {
  it('is asked of the server, with the options given', async () => {
    const cache = temporaryFolder();
    const { server, code, stdout, stderr } = await openai(
      [says('{"score": 40}')],
      [
        ...ONE,
        ...['--core', 'empathy', '--judge-model', 'judge-1', '--temperature', '0'],
        ...['--max-tokens', '20', '--no-structured', '--price', '2,8', '--cache-dir', cache],
      ],
    );
    expect(stderr).toBe('');
    expect(stdout).toBe(`score  40.00  a ${amplify(40).toFixed(4)}\n`);
    expect(code).toBe(0);
    expect(server.requests).toHaveLength(1);
    const [{ body, headers }] = server.requests as [(typeof server.requests)[number]];
    expect(headers.authorization).toBe(`Bearer ${KEY}`);
    expect(body).toMatchObject({ model: 'judge-1', temperature: 0, max_tokens: 20 });
    expect(body.response_format).toBeUndefined();
    expect(body.messages![0]!.content).toMatch(/Empathy.*How are you\?.*Well, thank you\./s);
    expect(readdirSync(cache)).toHaveLength(1);
  });

  it('as JSON says where the score is from and what it cost', async () => {
    const file = join(temporaryFolder(), 'response.txt');
    writeFileSync(file, 'From a file.');
    const { server, stdout } = await openai(
      [says('{"score": 62.5}')],
      ['--query', 'Q', '--response-file', file, '--price', '2,8', '--json'],
    );
    expect(JSON.parse(stdout)).toEqual({
      core: 'helpfulness',
      status: 'scored',
      score: 62.5,
      a: amplify(62.5),
      evaluator: 'openai',
      model: 'gpt-4.1',
      cached: false,
      attempts: 1,
      tokens: { input: 100, output: 10 },
      cost: 0.00028,
      raw_answer: '{"score": 62.5}',
    });
    expect(server.requests[0]!.body.messages![0]!.content).toContain('From a file.');
  });

  it('a failure is shown as one, with exit code 1', async () => {
    const [refused, json] = await Promise.all([
      openai([unauthorized()], ONE),
      openai([says('I like it.')], [...ONE, '--reasks', '1', '--json']),
    ]);
    expect(refused.stdout).toMatch(/^failed \(rejected\): [^\n]+\n$/);
    expect(refused.code).toBe(1);
    expect(JSON.parse(json.stdout)).toMatchObject({ status: 'failed', kind: 'unparsable' });
    expect(JSON.parse(json.stdout)).not.toHaveProperty('score');
    expect(json.server.requests).toHaveLength(2);
    expect(json.code).toBe(1);
  });

  it('a key that the server repeats is not printed', async () => {
    const args = [...ONE, '--max-retries', '0'];
    for (const { code, stdout, stderr } of await Promise.all([
      openai([echoesKey()], args),
      openai([echoesKey()], [...args, '--json']),
    ])) {
      expect(code).toBe(1);
      expect(stdout).toContain('rejected');
      for (const form of [KEY, encodeURIComponent(KEY), Buffer.from(KEY).toString('base64')]) {
        expect(stdout + stderr).not.toContain(form.replace(/=+$/, ''));
      }
    }
  });
});

describe('sda score --file', () => {
  const rows = [
    { id: 'a', query: 'Q', response: 'good 80', core: 'truthful', expected: 4 },
    { id: 7, query: 'Q', response: 'good 20', expected: 1 },
    { query: 'Q', response: 'good 60', expected: 3 },
    { id: 'd', query: 'Q', response: 'good 30', expected: 2.5 },
    { id: 'e', query: 'Q', response: 'good 25', expected: 2 },
    { id: 'empty', query: 'Q', response: ' ', expected: 5 },
    { id: 'more', query: 'Q', response: 'good 1' },
  ];

  it('prints a line a row, failures among them, and the rank correlation of the others', async () => {
    const { code, stdout, stderr } = await openai([byResponse], ['--file', jsonl(...rows)]);
    const lines = stdout.trimEnd().split('\n');
    const a = (s: number) => amplify(s).toFixed(4);
    expect(lines).toEqual([
      `a      score  80.00  a ${a(80)}  expected 4`,
      `7      score  20.00  a ${a(20)}  expected 1`,
      `3      score  60.00  a ${a(60)}  expected 3`,
      `d      score  30.00  a ${a(30)}  expected 2.5`,
      `e      score  25.00  a ${a(25)}  expected 2`,
      'empty  failed (no-answer): The response to score is empty.',
      `more   score   1.00  a ${a(1)}`,
      expect.stringMatching(/^Spearman's rho with expected: 1\.000, .*, 5 pairs$/),
    ]);
    expect(stderr).toBe('6 scored, 1 failed\n');
    expect(code).toBe(1);
  });

  it('as JSONL prints an object a line, and a summary', async () => {
    const result = await openai([byResponse], ['--file', jsonl(...rows), '--json']);
    const lines = linesOf(result);
    expect(lines.map(({ id, score: s, kind }) => [id, s ?? kind])).toEqual([
      ['a', 80],
      ['7', 20],
      [undefined, 60],
      ['d', 30],
      ['e', 25],
      ['empty', 'no-answer'],
      ['more', 1],
      [undefined, undefined],
    ]);
    expect(lines[0]).toMatchObject({ core: 'truthful', expected: 4, a: amplify(80) });
    expect(lines.at(-1)).toEqual({
      summary: { scored: 6, failed: 1, spearman: { rho: 1, low: 1, high: 1, pairs: 5 } },
    });
    expect(result.server.busiest).toBeGreaterThan(1);
    expect(result.code).toBe(1);
  });

  it('without expected scores there is no correlation, with too few it is none', async () => {
    const fixed = ['--evaluator', 'fixed', '--fixed-score', '50', '--file'];
    const plain = await score([...fixed, jsonl({ query: 'Q', response: 'R' })]);
    expect(plain.stdout).toBe(`score  50.00  a ${amplify(50).toFixed(4)}\n`);
    expect(plain.code).toBe(0);
    const few = await score([...fixed, jsonl({ query: 'Q', response: 'R', expected: 1 })]);
    expect(few.stdout).toMatch(/\nSpearman's rho with expected: none, of 1 pairs/);
  });

  it('looks scores up in a file', async () => {
    const scores = jsonl({ id: 'a', score: 12.5 });
    const file = jsonl(
      { id: 'a', query: 'Q', response: 'R' },
      { id: 'b', query: 'Q2', response: 'R' },
    );
    const result = await score([
      '--evaluator',
      'file',
      '--scores',
      scores,
      '--file',
      file,
      '--json',
    ]);
    expect(linesOf(result).slice(0, 2)).toMatchObject([
      { id: 'a', status: 'scored', score: 12.5 },
      { id: 'b', status: 'failed', kind: 'missing' },
    ]);
    expect(result.code).toBe(1);
  });
});

it('sda score --evaluator intrinsic scores by the model, and fails for a row that does not fit', async () => {
  const dir = copyOf('tiny-llama');
  addTokenizer(dir, TINY_TEMPLATE);
  const rows = [
    { id: 'fits', query: 'Why?', response: 'So it is.' },
    { id: 'long', query: 'Why?', response: 'x'.repeat(300) },
  ];
  const file = jsonl(...rows);
  const args = ['--evaluator', 'intrinsic', '--model', dir, '--file', file, '--json'];
  const result = await score([...args, '--instruction', 'Be kind.', '--scale', '5']);
  const [fits, long] = linesOf(result);
  const model = await loadModel(dir);
  onTestFinished(() => model.dispose());
  const evaluator = intrinsicEvaluator(model, { instruction: 'Be kind.', scale: 5 });
  const expected = await evaluator.score({ ...rows[0]!, core: 'helpfulness' });
  expect(expected.status).toBe('scored');
  const { provenance, ...scored } = expected;
  expect(fits).toMatchObject({ ...scored, evaluator: 'intrinsic', model: provenance.model });
  expect(long).toMatchObject({ status: 'failed', kind: 'unusable' });
  expect(result.code).toBe(1);
});

/** What the command makes of its arguments, without a process. */
async function parsed(args: readonly string[]) {
  let options: ScoreOptions | undefined;
  const command = addScoreOptions(
    new Command().exitOverride().configureOutput({ writeErr: () => {} }),
  );
  command.action((given: ScoreOptions) => {
    options = given;
  });
  command.parse([...args], { from: 'user' });
  return { spec: evaluatorSpec(options!), rows: await scoreRows(options!) };
}

describe('wrong input of sda score', () => {
  const FIXED = ['--evaluator', 'fixed', '--fixed-score', '50'];
  const file = (text: string) => {
    const path = join(temporaryFolder(), 'rows.jsonl');
    writeFileSync(path, text);
    return ['--file', path];
  };

  it.each([
    ['no evaluator', () => ONE, /--evaluator/],
    [
      'an unknown evaluator',
      () => ['--evaluator', 'gpt', ...ONE],
      /openai, intrinsic, fixed, file/,
    ],
    ['nothing to score', () => FIXED, /--query and --response/],
    ['a query alone', () => [...FIXED, '--query', 'Q'], /--query and --response/],
    ['no fixed score', () => ['--evaluator', 'fixed', ...ONE], /--fixed-score/],
    ['no file of scores', () => ['--evaluator', 'file', ...ONE], /--scores/],
    ['an option of another', () => [...FIXED, ...ONE, '--scale', '1'], /--scale .*intrinsic/],
    ['another flag', () => [...FIXED, ...ONE, '--no-structured'], /--no-structured .*openai/],
    ['a model where none is loaded', () => [...FIXED, ...ONE, '--dtype', 'float32'], /--dtype /],
    ['a price alone', () => ['--evaluator', 'openai', ...ONE, '--price', '2'], /two prices/],
    ['both ways of input', () => [...FIXED, ...ONE, ...file('')], /--file/],
    ['no rows', () => [...FIXED, ...file('\n')], /no rows/],
    [
      'a broken line',
      () => [...FIXED, ...file('{"query": "Q", "response": "R"}\n{"que')],
      /line 2: not valid JSON/,
    ],
    [
      'a row without response',
      () => [...FIXED, ...file('{"query": "Q"}')],
      /line 1: .*response is not right/,
    ],
    [
      'an unknown core',
      () => [...FIXED, ...file('{"query": "Q", "response": "R", "core": "x"}')],
      /line 1: .*core is not right/,
    ],
    [
      'an id twice',
      () => [
        ...FIXED,
        ...file(
          '{"id": 1, "query": "Q", "response": "R"}\n{"id": "1", "query": "Q", "response": "R"}',
        ),
      ],
      /line 2: the id "1" stands in line 1/,
    ],
    ['no text', () => [...FIXED, '--query', 'Q', '--response-file', '/nowhere.txt'], /nowhere/],
  ])('%s is told', async (_, args, message) => {
    const error = await errorOf(() => parsed(args()));
    expect(error.message).toMatch(message);
  });

  it('is one sentence on stderr, with exit code 2 for usage and 1 for files', async () => {
    for (const [args, message, expected] of [
      [['--evaluator', 'fixed', ...ONE], /--fixed-score/, 2],
      [[...FIXED, '--file', '/nowhere.jsonl'], /nowhere/, 1],
    ] as const) {
      const { code, stdout, stderr } = await score(args);
      expect(stderr).toMatch(message);
      expect(stderr).toMatch(/^error: [^\n]+\n$/);
      expect(stdout).toBe('');
      expect(code).toBe(expected);
    }
  });

  it('a missing key names its variable; a key in its place is not repeated', async () => {
    const asked = ['--evaluator', 'openai', ...ONE, '--api-key-env'];
    const [missing, pasted] = await Promise.all([
      score([...asked, 'NO_SUCH_KEY']),
      score([...asked, 'sk-proj-123456']),
    ]);
    expect(missing.stderr).toMatch(/^error: .*NO_SUCH_KEY[^\n]*\n$/);
    expect(missing.code).toBe(1);
    expect(pasted.stderr).toMatch(/^error: .*environment variable[^\n]*\n$/);
    expect(pasted.stderr).not.toContain('123456');
  });
});
