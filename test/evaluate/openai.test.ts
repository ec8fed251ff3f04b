import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { OpenAiEvaluator, type OpenAiEvaluatorOptions } from '../../src/evaluate/openai.js';
import type { FailureKind } from '../../src/evaluate/types.js';
import { temporaryFolder } from '../support/folders.js';
import {
  type Behaviour,
  brokenJson,
  drops,
  dropsMidway,
  echoesKey,
  fails,
  INPUT,
  judgeServer,
  KEY,
  notJson,
  outOfQuota,
  rateLimited,
  says,
  serverError,
  slow,
  stalls,
  unauthorized,
  withoutStructure,
} from '../support/judge-server.js';
import { errorOf } from '../support/tensorflow.js';

beforeEach(() => {
  vi.stubEnv('OPENAI_API_KEY', KEY);
  vi.stubEnv('OPENAI_BASE_URL', undefined);
});
afterEach(() => {
  vi.unstubAllEnvs();
});

async function evaluatorFor(script: Behaviour[], options: OpenAiEvaluatorOptions = {}) {
  const server = await judgeServer(...script);
  return { server, evaluator: new OpenAiEvaluator({ baseURL: server.url, ...options }) };
}

const GOOD = says('{"score": 85.5}');

describe('a request', () => {
  test('holds the rubric, the query and the response, the schema, and nothing that is not set', async () => {
    const { server, evaluator } = await evaluatorFor([GOOD]);
    const scored = await evaluator.score(INPUT);
    expect(scored).toEqual({
      status: 'scored',
      score: 85.5,
      provenance: {
        evaluator: 'openai',
        model: 'gpt-4.1',
        cached: false,
        attempts: 1,
        rawAnswer: '{"score": 85.5}',
        tokens: { input: 100, output: 10 },
        cost: null,
      },
    });
    const [request] = server.requests;
    expect(request!.path).toBe('/v1/chat/completions');
    expect(request!.headers.authorization).toBe(`Bearer ${KEY}`);
    expect(Object.keys(request!.body).sort()).toEqual(['messages', 'model', 'response_format']);
    expect(request!.body.model).toBe('gpt-4.1');
    expect(request!.body.messages).toHaveLength(1);
    for (const part of [INPUT.query, INPUT.response, 'Empathy']) {
      expect(request!.body.messages![0]!.content).toContain(part);
    }
    expect(request!.body.response_format).toMatchObject({
      type: 'json_schema',
      json_schema: { strict: true, schema: { required: ['score'] } },
    });
  });

  test('holds the parameters that are set, and an own rubric', async () => {
    const { server, evaluator } = await evaluatorFor([GOOD], {
      model: 'other',
      temperature: 0,
      maxCompletionTokens: 50,
      rubric: 'Brevity counts.',
    });
    await evaluator.score(INPUT);
    expect(server.requests[0]!.body).toMatchObject({
      model: 'other',
      temperature: 0,
      max_completion_tokens: 50,
    });
    expect(server.requests[0]!.body.messages![0]!.content).toContain('Brevity counts.');
    expect(server.requests[0]!.body).not.toHaveProperty('max_tokens');
  });

  test('carries no key to a server that needs none', async () => {
    vi.stubEnv('OPENAI_API_KEY', undefined);
    const { server, evaluator } = await evaluatorFor([GOOD]);
    expect((await evaluator.score(INPUT)).status).toBe('scored');
    expect(server.requests[0]!.headers.authorization).toBeUndefined();
  });

  test('takes the key from the variable that is named', async () => {
    vi.stubEnv('MY_KEY', ' another-key-9876 \n');
    const { server, evaluator } = await evaluatorFor([GOOD], { apiKeyEnv: 'MY_KEY' });
    await evaluator.score(INPUT);
    expect(server.requests[0]!.headers.authorization).toBe('Bearer another-key-9876');
  });

  test('is not made for an empty response', async () => {
    const { server, evaluator } = await evaluatorFor([GOOD]);
    expect(await evaluator.score({ ...INPUT, response: ' \n' })).toMatchObject({
      status: 'failed',
      kind: 'no-answer',
    });
    expect(server.requests).toHaveLength(0);
  });
});

const FAST = { maxRetries: 2, reasks: 2, timeoutMs: 10_000 };

/** name, script, requests sent, score or kind of failure, options */
const MODES: readonly [
  string,
  Behaviour[],
  number,
  number | FailureKind,
  OpenAiEvaluatorOptions?,
][] = [
  ['prose', [says('It is fine. **Score**: 72/100')], 1, 72],
  ['reasoning', [says('<think>Score: 10?</think>\n{"score": 72}')], 1, 72],
  ['JSON with another content type', [says('{"score": 72}', { contentType: 'text/plain' })], 1, 72],
  ['prose without a score, then one', [says('It is fine.'), GOOD], 2, 85.5],
  ['prose without a score', [says('It is fine.')], 3, 'unparsable'],
  ['prose without a score, not asked again', [says('It is fine.')], 1, 'unparsable', { reasks: 0 }],
  ['unfinished reasoning', [says('<think>Score: 10')], 3, 'unparsable'],
  ['an answer cut off', [says('Score: 8', { finish: 'length' })], 3, 'unparsable'],
  ['an empty answer', [says('')], 3, 'unparsable'],
  ['a score out of range', [says('{"score": 101}')], 3, 'out-of-range'],
  ['a score out of range, then one', [says('{"score": 101}'), GOOD], 2, 85.5],
  ['a refusal in prose', [says("I'm sorry, I can't rate this (policy 2.1).")], 3, 'refused'],
  ['a refusal of the API', [says('', { refusal: 'No.' })], 3, 'refused'],
  ['a filtered answer', [says('', { finish: 'content_filter' })], 3, 'refused'],
  ['broken JSON', [brokenJson], 3, 'unparsable'],
  ['broken JSON, then a score', [brokenJson, GOOD], 2, 85.5],
  ['no JSON', [notJson], 3, 'unparsable'],
  ['429 with Retry-After, then a score', [rateLimited(), rateLimited(), GOOD], 3, 85.5],
  ['429 for ever', [rateLimited()], 3, 'unreachable'],
  ['429 with a pause of an hour', [rateLimited({ 'retry-after': '3600' })], 1, 'unreachable'],
  [
    '429 with a date far off',
    [rateLimited({ 'retry-after': 'Wed, 21 Oct 2099 07:28:00 GMT' })],
    1,
    'unreachable',
  ],
  ['500, then a score', [serverError(), GOOD], 2, 85.5],
  ['500 for ever, with the schema and without', [serverError()], 6, 'unreachable'],
  ['500 without retries', [serverError()], 2, 'unreachable', { maxRetries: 0 }],
  ['401', [unauthorized()], 1, 'rejected'],
  ['no quota left', [outOfQuota()], 1, 'rejected'],
  ['400', [fails(400, { message: 'temperature is not supported' })], 2, 'declined'],
  ['404', [fails(404, { message: 'no such model' })], 1, 'rejected'],
  ['a dropped connection', [drops], 1, 'unreachable', { maxRetries: 0 }],
  ['a dropped connection, then a score', [drops, GOOD], 2, 85.5, { maxRetries: 1 }],
  ['a connection dropped midway', [dropsMidway], 1, 'unreachable', { maxRetries: 0 }],
  ['a slow answer', [slow(5000, GOOD)], 1, 'unreachable', { maxRetries: 0, timeoutMs: 100 }],
  ['a body that never ends', [stalls], 1, 'unreachable', { maxRetries: 0, timeoutMs: 100 }],
  ['400 on response_format', [withoutStructure(GOOD)], 2, 85.5],
];

describe('a server with', () => {
  test.each(MODES)('%s', async (_, script, requests, expected, options) => {
    const { server, evaluator } = await evaluatorFor(script, { ...FAST, ...options });
    const scored = await evaluator.score(INPUT);
    expect(scored.status === 'scored' ? scored.score : scored.kind).toBe(expected);
    expect(server.requests).toHaveLength(requests);
    expect(scored.provenance.attempts).toBe(requests);
    if (scored.status === 'failed') {
      expect(scored).not.toHaveProperty('score');
      expect(scored.reason).toMatch(/^[^\n]+\.$/);
    }
  });

  test('no structured output is asked for it once', async () => {
    const { server, evaluator } = await evaluatorFor([withoutStructure(says('Score: 85'))]);
    for (const response of ['one', 'two', 'three']) {
      expect((await evaluator.score({ ...INPUT, response })).status).toBe('scored');
    }
    const structured = server.requests.map(({ body }) => body.response_format !== undefined);
    expect(structured).toEqual([true, false, false, false]);
  });

  test('an unreadable answer is told the form again', async () => {
    const { server, evaluator } = await evaluatorFor([says('Fine.'), GOOD]);
    const scored = await evaluator.score(INPUT);
    const [first, second] = server.requests.map(({ body }) => body.messages![0]!.content);
    expect(second!.startsWith(first!)).toBe(true);
    expect(second!.length).toBeGreaterThan(first!.length);
    expect(scored.provenance.tokens).toEqual({ input: 200, output: 20 });
  });

  test('nobody there', async () => {
    const evaluator = new OpenAiEvaluator({ baseURL: 'http://127.0.0.1:1/v1', maxRetries: 0 });
    expect(await evaluator.score(INPUT)).toMatchObject({ status: 'failed', kind: 'unreachable' });
  });
});

describe('the key', () => {
  test.each([401, 400, 403, 500])('is not in what a server repeats with %i', async (status) => {
    const dir = temporaryFolder();
    const { server, evaluator } = await evaluatorFor([echoesKey(status)], { cacheDir: dir });
    const scored = await evaluator.score(INPUT);
    expect(server.requests[0]!.headers.authorization).toContain(KEY); // it was there to be repeated
    expect(scored.status).toBe('failed');
    const forms = [KEY, encodeURIComponent(KEY), Buffer.from(KEY).toString('base64')];
    for (const form of forms) expect(JSON.stringify(scored)).not.toContain(form);
    expect(JSON.stringify(scored).split('[key removed]')).toHaveLength(5);
  });

  test('is not in an answer, nor in the cache', async () => {
    const dir = temporaryFolder();
    const script = [says(({ headers }) => `${headers.authorization?.slice(7)} Score: 85`)];
    const { evaluator } = await evaluatorFor(script, { cacheDir: dir });
    const scored = await evaluator.score(INPUT);
    expect(scored).toMatchObject({ status: 'scored', score: 85 });
    expect(JSON.stringify(scored)).not.toContain(KEY);
    const files = readdirSync(dir);
    expect(files).toHaveLength(1);
    expect(readFileSync(join(dir, files[0]!), 'utf8')).not.toContain(KEY);
  });

  test('is no enumerable part of the evaluator', () => {
    const evaluator = new OpenAiEvaluator({ baseURL: 'http://127.0.0.1:1/v1' });
    expect(JSON.stringify(evaluator.chat.settings)).not.toContain(KEY);
  });

  test.each([
    ['missing at OpenAI', {}, undefined],
    [
      'missing in the named variable',
      { baseURL: 'http://127.0.0.1:1/v1', apiKeyEnv: 'NO_KEY' },
      'x',
    ],
    ['with a line break inside', {}, 'sekrit\nkey'],
  ])('%s is an error that does not show it', async (_, options, key) => {
    vi.stubEnv('OPENAI_API_KEY', key);
    const error = await errorOf(() => new OpenAiEvaluator(options));
    expect(error).toMatchObject({ code: 'bad-input' });
    expect(String(error)).toMatch(/environment variable (OPENAI_API_KEY|NO_KEY)/);
    expect(String(error)).not.toContain('sekrit');
  });
});

describe('options', () => {
  test.each<[OpenAiEvaluatorOptions, RegExp]>([
    [{ baseURL: 'nowhere' }, /URL/],
    [{ baseURL: 'ftp://127.0.0.1' }, /URL/],
    [{ baseURL: 'http://me:sekrit@127.0.0.1/v1' }, /user name/],
    [{ baseURL: 'http://127.0.0.1/v1?key=sekrit' }, /query/],
    [{ model: ' ' }, /model/],
    [{ temperature: Number.NaN }, /temperature/],
    [{ maxTokens: 5, maxCompletionTokens: 5 }, /not both/],
    [{ maxTokens: 0 }, /maxTokens/],
    [{ reasks: -1 }, /reasks/],
    [{ concurrency: 0 }, /concurrency/],
    [{ costCap: 1 }, /price/],
    [{ costCap: 1, prices: { other: { input: 1, output: 1 } } }, /price/],
    [{ costCap: -1, prices: { 'gpt-4.1': { input: 1, output: 1 } } }, /costCap/],
  ])('%j are refused', async (options, message) => {
    const error = await errorOf(() => new OpenAiEvaluator(options));
    expect(error).toMatchObject({ code: 'bad-input', message: expect.stringMatching(message) });
    expect(String(error)).not.toContain('sekrit');
  });
});
