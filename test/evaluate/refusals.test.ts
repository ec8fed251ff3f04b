import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { OpenAiEvaluator, type OpenAiEvaluatorOptions } from '../../src/evaluate/openai.js';
import type { FailureKind } from '../../src/evaluate/types.js';
import {
  answers,
  type Behaviour,
  fails,
  INPUT,
  judgeServer,
  KEY,
  says,
  serverError,
  withoutStructure,
} from '../support/judge-server.js';

const GOOD = says('{"score": 85.5}');

beforeEach(() => {
  vi.stubEnv('OPENAI_API_KEY', KEY);
});
afterEach(() => {
  vi.unstubAllEnvs();
});

async function evaluatorFor(script: Behaviour[], options: OpenAiEvaluatorOptions = {}) {
  const server = await judgeServer(...script);
  const evaluator = new OpenAiEvaluator({ baseURL: server.url, maxRetries: 0, ...options });
  const score = async (query: string) => {
    const scored = await evaluator.score({ ...INPUT, query });
    return scored.status === 'scored' ? scored.score : scored.kind;
  };
  return { server, evaluator, score };
}

const BAD = fails(400, { message: 'max_tokens is too large', param: 'max_tokens' });

describe('a refusal', () => {
  test.each<[string, Behaviour, RegExp]>([
    [
      'of a content filter',
      fails(400, {
        message: "The response was filtered due to Azure OpenAI's content management policy.",
        code: 'content_filter',
      }),
      /answered 400: "The response was filtered due to Azure OpenAI's content management policy"/,
    ],
    [
      'of a context length',
      fails(400, {
        message: "This model's maximum context length is 4096 tokens. You requested 5000 tokens.",
        code: 'context_length_exceeded',
      }),
      /maximum context length is 4096 tokens/,
    ],
    [
      'of a context length, in the words of llama.cpp',
      answers(400, {
        error: {
          code: 400,
          message: 'the request exceeds the available context size. try increasing it',
          type: 'exceed_context_size_error',
        },
      }),
      /exceeds the available context size/,
    ],
    [
      "of a context length, in vLLM's words",
      fails(400, {
        message:
          "'max_tokens' is too large: 500. This model's maximum context length is 4096 tokens and your request has 3700 input tokens",
      }),
      /request has 3700 input tokens/,
    ],
    ['of a body too large', answers(413, ''), /answered 413 without a word/],
    [
      'of moderation',
      fails(403, { message: 'Your chosen model requires moderation and your input was flagged' }),
      /your input was flagged/,
    ],
  ])('%s is that of one item, also twice', async (_, refuse, words) => {
    const { server, evaluator, score } = await evaluatorFor([refuse, refuse, GOOD]);
    const scored = await evaluator.score({ ...INPUT, query: 'one' });
    expect(scored).toMatchObject({ status: 'failed', kind: 'declined' });
    expect(scored.status === 'failed' && scored.reason).toMatch(words);
    expect(await score('two')).toBe('declined');
    expect(await score('three')).toBe(85.5);
    expect(server.requests).toHaveLength(3);
  });

  test.each<[string, readonly [string, Behaviour][], readonly (number | FailureKind)[]]>([
    [
      'of a parameter, twice',
      [
        ['a', BAD],
        ['b', BAD],
      ],
      ['declined', 'rejected'],
    ],
    [
      'of one item, asked twice',
      [
        ['a', BAD],
        ['a', BAD],
      ],
      ['declined', 'declined'],
    ],
    [
      'after an answer: the parameters are not bad',
      [
        ['a', GOOD],
        ['b', BAD],
        ['c', BAD],
      ],
      [85.5, 'declined', 'declined'],
    ],
    [
      'in other words',
      [
        ['a', BAD],
        ['b', fails(400, { message: 'No.' })],
      ],
      ['declined', 'declined'],
    ],
    [
      'of the largest answer, twice',
      ['a', 'b'].map((query) => [
        query,
        fails(400, { message: 'max_tokens: 9 > 8, the maximum allowed number of output tokens' }),
      ]),
      ['declined', 'rejected'],
    ],
    ['of the key', [['a', fails(401, { message: 'Wrong key' })]], ['rejected']],
    [
      'of the model',
      [['a', fails(404, { message: 'The model `m` does not exist' })]],
      ['rejected'],
    ],
    ['for want of money', [['a', fails(402, { message: 'Insufficient credits' })]], ['rejected']],
  ])('%s', async (_, script, expected) => {
    const { score } = await evaluatorFor(
      script.map(([, behaviour]) => behaviour),
      { structured: false },
    );
    const kinds = [];
    for (const [query] of script) kinds.push(await score(query));
    expect(kinds).toEqual(expected);
  });
});

describe('a schema refused', () => {
  test.each<[string, Behaviour]>([
    [
      'with 422 and a detail',
      answers(422, { detail: [{ loc: ['body', 'response_format'], msg: 'extra fields' }] }),
    ],
    ['with 422 and other words', answers(422, { detail: 'Unprocessable' })],
    ['with 500', serverError()],
    ['with 500 of a grammar', answers(500, { error: { message: 'failed to parse grammar' } })],
    ['with 404', fails(404, { message: 'No endpoints found that handle these parameters' })],
    ['with an error inside 200', answers(200, { error: 'response_format is not supported' })],
  ])('%s is left out', async (_, refuse) => {
    const { server, score } = await evaluatorFor([withoutStructure(GOOD, refuse)]);
    for (const query of ['a', 'b', 'c', 'd']) expect(await score(query)).toBe(85.5);
    const asked = server.requests.map(({ body }) => body.response_format !== undefined);
    expect(asked.slice(0, 2)).toEqual([true, false]);
    expect(asked.slice(-2)).toEqual([false, false]);
  });

  test('once by a passing trouble is sent again', async () => {
    const { server, score } = await evaluatorFor([serverError(), GOOD]);
    expect(await score('a')).toBe(85.5);
    expect(await score('b')).toBe(85.5);
    const asked = server.requests.map(({ body }) => body.response_format !== undefined);
    expect(asked).toEqual([true, false, true]);
  });

  test('after it was taken is no matter of the schema', async () => {
    const { server, score } = await evaluatorFor([GOOD, serverError(), GOOD]);
    expect([await score('a'), await score('b')]).toEqual([85.5, 'unreachable']);
    expect(server.requests).toHaveLength(2);
  });
});

describe("the server's words are in the message:", () => {
  test.each<[string, Behaviour, string]>([
    [
      "FastAPI's",
      answers(422, { detail: [{ loc: ['body', 'seed'], msg: 'not a number', type: 'x' }] }),
      'answered 422: "body.seed: not a number"',
    ],
    ['a detail that is text', answers(422, { detail: 'Too odd.' }), 'answered 422: "Too odd"'],
    [
      "vLLM's",
      answers(400, { object: 'error', message: 'No template', code: 400 }),
      'answered 400: "No template"',
    ],
    ['an error that is text', answers(400, { error: 'Odd' }), 'answered 400: "Odd"'],
    [
      "a router's",
      answers(400, {
        error: { message: 'Provider returned error', metadata: { raw: '{"message":"Odd"}' } },
      }),
      'Provider returned error ({"message":"Odd"})',
    ],
    ['a page', answers(502, '<html><title>x</title><h1>Bad Gateway</h1></html>'), '"Bad Gateway"'],
    ['none', answers(422, ''), 'answered 422 without a word'],
    [
      'inside 200',
      answers(200, { error: { message: 'Upstream is busy', code: 503 } }),
      'answered 200 with an error: "Upstream is busy"',
    ],
    [
      'inside a choice',
      answers(200, { choices: [{ error: { code: 502, message: 'Cut' }, finish_reason: 'error' }] }),
      'answered 200 with an error: "Cut"',
    ],
  ])('%s', async (_, behaviour, words) => {
    const { evaluator } = await evaluatorFor([behaviour]);
    const scored = await evaluator.score(INPUT);
    expect(scored.status === 'failed' && scored.reason).toContain(words);
  });

  test('without the key, also where they are cut', async () => {
    const message = `${'x'.repeat(290)} ${KEY}`;
    const { evaluator } = await evaluatorFor([answers(400, { error: message })]);
    const scored = await evaluator.score(INPUT);
    expect(JSON.stringify(scored)).not.toContain('sekrit');
  });

  test('an error inside 200 is tried again like any other', async () => {
    const busy = answers(200, { error: { message: 'Rate limited', code: 429 } });
    const { server, score } = await evaluatorFor([busy, GOOD], { maxRetries: 1 });
    expect(await score('a')).toBe(85.5);
    expect(server.requests).toHaveLength(2);
  });
});

describe('a content in parts', () => {
  const parts = (...content: object[]) =>
    answers(200, { choices: [{ message: { content }, finish_reason: 'stop' }], error: null });
  test.each<[string, Behaviour, number | FailureKind]>([
    ['of text', parts({ type: 'text', text: '{"score":' }, { type: 'text', text: ' 72}' }), 72],
    [
      'with thinking',
      parts({ type: 'thinking', thinking: [{ type: 'text', text: 'Score: 10' }] }, { text: '72' }),
      72,
    ],
    ['with a refusal', parts({ type: 'refusal', refusal: 'No.' }), 'refused'],
    ['of nothing', parts(), 'unparsable'],
  ])('%s is read', async (_, behaviour, expected) => {
    const { score } = await evaluatorFor([behaviour], { reasks: 0 });
    expect(await score('a')).toBe(expected);
  });
});
