import { appendFileSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { Ledger } from '../../src/evaluate/ledger.js';
import { OpenAiEvaluator, type OpenAiEvaluatorOptions } from '../../src/evaluate/openai.js';
import { temporaryFolder } from '../support/folders.js';
import {
  type Behaviour,
  INPUT,
  judgeServer,
  KEY,
  rateLimited,
  says,
  slow,
  unauthorized,
} from '../support/judge-server.js';
import { errorOf } from '../support/tensorflow.js';

const GOOD = says('{"score": 85.5}');

beforeEach(() => {
  vi.stubEnv('OPENAI_API_KEY', KEY);
});
afterEach(() => {
  vi.unstubAllEnvs();
});

async function evaluatorFor(script: Behaviour[], options: OpenAiEvaluatorOptions = {}) {
  const server = await judgeServer(...script);
  return { server, evaluator: new OpenAiEvaluator({ baseURL: server.url, ...options }) };
}

describe('cost', () => {
  // 100 tokens in, 10 out: 0.0002 + 0.00008 US dollars a call
  const prices = { 'gpt-4.1': { input: 2, output: 8 } };

  test('is counted, re-asks included', async () => {
    const { evaluator } = await evaluatorFor([says('Fine.'), GOOD], { prices });
    const { provenance } = await evaluator.score(INPUT);
    expect(provenance.cost).toBeCloseTo(0.00056, 12);
    expect(evaluator.chat.spending.cost).toBeCloseTo(0.00056, 12);
  });

  test('stops at the cap, before the next call', async () => {
    const { server, evaluator } = await evaluatorFor([GOOD], { prices, costCap: 0.0005 });
    const kinds = [];
    for (const response of ['a', 'b', 'c', 'd']) {
      const scored = await evaluator.score({ ...INPUT, response });
      kinds.push(scored.status === 'scored' ? scored.score : scored.kind);
    }
    expect(kinds).toEqual([85.5, 85.5, 'cost-cap', 'cost-cap']);
    expect(server.requests).toHaveLength(2);
  });

  test('stops re-asks too', async () => {
    const { server, evaluator } = await evaluatorFor([says('Fine.')], { prices, costCap: 0.0002 });
    expect(await evaluator.score(INPUT)).toMatchObject({ kind: 'cost-cap' });
    expect(server.requests).toHaveLength(1);
  });

  test('that a server does not count stops at once', async () => {
    const { server, evaluator } = await evaluatorFor([says('Score: 85', { usage: null })], {
      prices,
      costCap: 1,
    });
    expect((await evaluator.score(INPUT)).status).toBe('scored');
    expect(await evaluator.score({ ...INPUT, response: 'b' })).toMatchObject({ kind: 'cost-cap' });
    expect(server.requests).toHaveLength(1);
  });
});

describe('a ledger', () => {
  const prices = { 'gpt-4.1': { input: 2, output: 8 } }; // 0.00028 US dollars a call
  const tokens = { input: 100, output: 10 };

  test('counts what earlier processes and other models took, at their price', async () => {
    const file = join(temporaryFolder(), 'spending.jsonl');
    new Ledger(file).add({ evaluator: 'judge', model: 'other', tokens, cost: 0.0002 });
    new Ledger(file).add({ evaluator: 'judge', model: 'free', tokens: null, cost: null });
    const asked = [];
    for (const response of ['a', 'b', 'c']) {
      const options = { prices, costCap: 0.0006, ledger: new Ledger(file) };
      const { evaluator } = await evaluatorFor([GOOD], options);
      const scored = await evaluator.score({ ...INPUT, response });
      asked.push(scored.status === 'scored' ? scored.score : scored.reason);
    }
    expect(asked).toEqual([85.5, 85.5, expect.stringContaining('0.000760 spent in all')]);
  });

  test('is whole after a process that was ended in the middle of a line', async () => {
    const file = join(temporaryFolder(), 'spending.jsonl');
    const entry = { evaluator: 'openai', model: 'm', tokens, cost: 1 };
    new Ledger(file).add(entry);
    appendFileSync(file, '{"evaluator":"openai","tokens":{"input":1,"output":1}');
    new Ledger(file).add(entry);
    expect(new Ledger(file).entries()).toEqual([entry, entry]);
    expect(readFileSync(file, 'utf8')).toBe(`${JSON.stringify(entry)}\n`.repeat(2));
  });

  test('counts a last line that lacks its line end alone', () => {
    const file = join(temporaryFolder(), 'spending.jsonl');
    const entry = { evaluator: 'openai', model: 'm', tokens, cost: 1 };
    writeFileSync(file, JSON.stringify(entry));
    expect(new Ledger(file).entries()).toEqual([entry]);
    new Ledger(file).add(entry);
    expect(readFileSync(file, 'utf8')).toBe(`${JSON.stringify(entry)}\n`.repeat(2));
  });

  test('with a damaged line in the middle is an error that names it: a cost cap would not be kept', async () => {
    const file = join(temporaryFolder(), 'spending.jsonl');
    const entry = { evaluator: 'openai', model: 'm', tokens, cost: 1 };
    writeFileSync(file, `${JSON.stringify(entry)}\n{"evaluator":\n${JSON.stringify(entry)}\n`);
    expect(await errorOf(() => new Ledger(file).entries())).toMatchObject({
      code: 'bad-file',
      message: expect.stringMatching(/^Line 2 of .*spending\.jsonl cannot be used: it is no JSON/),
    });
  });

  test('that is another file, or cannot be written, is an error', async () => {
    const dir = temporaryFolder();
    writeFileSync(join(dir, 'x'), '{}\n');
    expect(await errorOf(() => new Ledger(join(dir, 'x')).entries())).toMatchObject({
      code: 'bad-file',
      message: expect.stringMatching(/^Line 1 of /),
    });
    const { evaluator } = await evaluatorFor([GOOD], { ledger: new Ledger(join(dir, 'no', 'x')) });
    expect(await errorOf(() => evaluator.score(INPUT))).toMatchObject({ code: 'bad-input' });
  });
});

describe('the cache', () => {
  test('answers the same question without asking', async () => {
    const cacheDir = temporaryFolder();
    const { server, evaluator } = await evaluatorFor([GOOD], { cacheDir });
    await evaluator.score(INPUT);
    const again = await new OpenAiEvaluator({ baseURL: server.url, cacheDir }).score(INPUT);
    expect(again).toMatchObject({
      status: 'scored',
      score: 85.5,
      provenance: { cached: true, attempts: 0, tokens: { input: 0, output: 0 } },
    });
    expect(server.requests).toHaveLength(1);
  });

  test('does not answer another question, model, parameter or rubric', async () => {
    const cacheDir = temporaryFolder();
    const { server, evaluator } = await evaluatorFor([GOOD], { cacheDir });
    await evaluator.score(INPUT);
    await evaluator.score({ ...INPUT, core: 'truthful' });
    await evaluator.score({ ...INPUT, query: 'And you?' });
    for (const options of [{ model: 'b' }, { temperature: 0 }, { maxTokens: 9 }, { rubric: 'r' }]) {
      await new OpenAiEvaluator({ baseURL: server.url, cacheDir, ...options }).score(INPUT);
    }
    expect(server.requests).toHaveLength(7);
    expect(readdirSync(cacheDir)).toHaveLength(7);
  });

  test.each(['', '{"version": 1', '{}', '[]', '{"version": 0}'])(
    'passes over a damaged entry (%j) and writes it again',
    async (damage) => {
      const cacheDir = temporaryFolder();
      const { server, evaluator } = await evaluatorFor([GOOD], { cacheDir });
      await evaluator.score(INPUT);
      const file = join(cacheDir, readdirSync(cacheDir)[0]!);
      const whole = readFileSync(file, 'utf8');
      writeFileSync(file, damage);
      expect((await evaluator.score(INPUT)).provenance.cached).toBe(false);
      expect(server.requests).toHaveLength(2);
      expect(readFileSync(file, 'utf8')).toBe(whole);
    },
  );

  test('passes over an entry whose answer cannot be read, or that belongs to another key', async () => {
    const cacheDir = temporaryFolder();
    const { server, evaluator } = await evaluatorFor([GOOD], { cacheDir });
    await evaluator.score(INPUT);
    const file = join(cacheDir, readdirSync(cacheDir)[0]!);
    const entry = JSON.parse(readFileSync(file, 'utf8')) as Record<string, unknown>;
    for (const change of [{ answer: 'Score: 999' }, { key: 'other' }]) {
      writeFileSync(file, JSON.stringify({ ...entry, ...change }));
      expect(await evaluator.score(INPUT)).toMatchObject({ score: 85.5 });
    }
    expect(server.requests).toHaveLength(3);
  });

  test('keeps no failure', async () => {
    const cacheDir = temporaryFolder();
    const { server, evaluator } = await evaluatorFor([says('Fine.'), unauthorized(), GOOD], {
      cacheDir,
      reasks: 0,
    });
    expect((await evaluator.score(INPUT)).status).toBe('failed');
    expect((await evaluator.score(INPUT)).status).toBe('failed');
    expect(readdirSync(cacheDir)).toEqual([]);
    expect((await evaluator.score(INPUT)).status).toBe('scored');
    expect(server.requests).toHaveLength(3);
  });

  test('says where it cannot be written', async () => {
    const file = join(temporaryFolder(), 'file');
    writeFileSync(file, '');
    const { evaluator } = await evaluatorFor([GOOD], { cacheDir: join(file, 'cache') });
    expect(await errorOf(() => evaluator.score(INPUT))).toMatchObject({ code: 'bad-input' });
  });

  test('leaves no temporary file where a folder stands in the way', async () => {
    const cacheDir = temporaryFolder();
    const { evaluator } = await evaluatorFor([GOOD], { cacheDir });
    await evaluator.score(INPUT);
    const [name] = readdirSync(cacheDir);
    const other = temporaryFolder();
    mkdirSync(join(other, name!, 'full'), { recursive: true });
    const blocked = new OpenAiEvaluator({
      baseURL: evaluator.chat.settings.endpoint,
      cacheDir: other,
    });
    expect(await errorOf(() => blocked.score(INPUT))).toMatchObject({ code: 'bad-input' });
    expect(readdirSync(other)).toEqual([name]);
  });
});

describe('several at once', () => {
  const responses = Array.from({ length: 12 }, (_, i) => `response ${i}`);

  test.each([1, 3])('no more than %i run', async (concurrency) => {
    const { server, evaluator } = await evaluatorFor([slow(20, GOOD)], { concurrency });
    await Promise.all(responses.map((response) => evaluator.score({ ...INPUT, response })));
    expect(server.requests).toHaveLength(12);
    expect(server.busiest).toBe(concurrency);
  });

  test('an abort ends those under way and those that wait', async () => {
    const { server, evaluator } = await evaluatorFor([slow(5000, GOOD)], { concurrency: 2 });
    const stop = new AbortController();
    const all = responses.map((response) => evaluator.score({ ...INPUT, response }, stop));
    await vi.waitFor(() => expect(server.requests).toHaveLength(2));
    stop.abort();
    for (const scored of await Promise.all(all)) {
      expect(scored).toMatchObject({ status: 'failed', kind: 'aborted' });
    }
    expect(server.requests).toHaveLength(2);
  });

  test('an abort does not wait for a retry', async () => {
    const { server, evaluator } = await evaluatorFor([rateLimited({ 'retry-after': '50' })]);
    const stop = new AbortController();
    const scoring = evaluator.score(INPUT, stop);
    await vi.waitFor(() => expect(server.requests).toHaveLength(1));
    stop.abort();
    expect(await scoring).toMatchObject({ kind: 'aborted' });
  }, 10_000);
});
