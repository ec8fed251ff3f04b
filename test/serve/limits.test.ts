import { memory } from '@tensorflow/tfjs-core';
import OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { loadModel, type SdaModel } from '../../src/index.js';
import { type SdaServer, type ServeOptions, serve } from '../../src/serve/server.js';
import { useTensorFlow } from '../support/tensorflow.js';
import { tinyFolder } from '../support/tiny-tokenizer.js';
import { idle, NAME, useServer } from './served.js';

useTensorFlow();

const KEY = 'sk-test-key-that-nobody-may-see-4711';
const messages = [{ role: 'user' as const, content: 'Hello' }];
const chat = { model: NAME, messages, max_tokens: 4 };
interface Refusal {
  readonly error: { message: string; type: string; param: string | null; code: string | null };
}

describe('a server with a key', () => {
  const lines: unknown[] = [];
  const faults: unknown[] = [];
  const served = useServer({
    key: KEY,
    onRequest: (line) => lines.push(line),
    onFault: (error) => faults.push(error),
    limits: { body: 2000, maxTokens: 50, answers: 4 },
  });

  test('answers those who send it, and nobody else; health is open', async () => {
    expect((await served.client.chat.completions.create(chat)).choices).toHaveLength(1);
    for (const authorization of ['', 'Bearer', `Bearer ${KEY}x`, `Basic ${KEY}`, KEY]) {
      const response = await served.post('/v1/chat/completions', chat, { authorization });
      expect(response.status).toBe(401);
      const text = await response.text();
      expect(JSON.parse(text)).toMatchObject({
        error: { type: 'authentication_error', code: 'invalid_api_key' },
      });
      expect(text).not.toContain(KEY);
    }
    for (const path of ['/v1/models', '/metrics']) {
      expect((await fetch(served.server.url + path)).status).toBe(401);
    }
    const health = await fetch(`${served.server.url}/health`);
    expect(await health.json()).toEqual({ status: 'ok', model: NAME, waiting: 0, running: 0 });
  });

  test('lists its model', async () => {
    const { data } = await served.client.models.list();
    expect(data).toMatchObject([{ id: NAME, object: 'model', owned_by: 'sda-tfjs' }]);
    expect(await served.client.models.retrieve(NAME)).toMatchObject({ id: NAME });
    await expect(served.client.models.retrieve('gpt-4')).rejects.toMatchObject({ status: 404 });
  });

  test.each<[object | string, number, RegExp, string | null]>([
    [{ ...chat, model: 'gpt-4' }, 404, /^There is no model "gpt-4" here: it is "tiny"\.$/, 'model'],
    [
      { ...chat, temperature: 3 },
      400,
      /^The field temperature is 3: too big: expected number to be <=2\.$/,
      'temperature',
    ],
    [{ ...chat, messages: [] }, 400, /^The field messages is \[\]: /, 'messages'],
    [
      { ...chat, messages: [{ role: 'robot', content: '' }] },
      400,
      /^The field messages\.0\.role is "robot"/,
      'messages.0.role',
    ],
    [
      { ...chat, messages: [{ role: 'assistant', content: 'Hi' }] },
      400,
      /^The messages must end with what the user asks/,
      null,
    ],
    [{ ...chat, messages: [{ role: 'user', content: '' }] }, 400, /^The query is empty/, null],
    [
      { ...chat, temprature: 1 },
      400,
      /^This server does not know the field temprature/,
      'temprature',
    ],
    [
      { ...chat, presence_penalty: 0.5 },
      400,
      /^The field presence_penalty is 0\.5/,
      'presence_penalty',
    ],
    [{ ...chat, tools: [{}] }, 400, /^The field tools\.0 is \{\}/, 'tools.0'],
    [
      { ...chat, max_tokens: 51 },
      400,
      /^51 tokens are asked for, but answers have at most 50\.$/,
      'max_tokens',
    ],
    [{ ...chat, n: 5 }, 400, /^5 answers are asked for, but there are at most 4\.$/, 'n'],
    [{ ...chat, top_logprobs: 2 }, 400, /logprobs is not true/, 'top_logprobs'],
    [{ ...chat, sda: { rule: 'best' } }, 400, /^There is no rule "best": the rules are /, null],
    [
      { ...chat, sda: { settings: { k: -1 } } },
      400,
      /^k of the rule sda must be a number above 0, but is -1/,
      null,
    ],
    [{ ...chat, sda: { settings: { kk: 1 } } }, 400, /^The rule sda has no setting "kk"/, null],
    [{ ...chat, sda: { core: 'kindness' } }, 400, /^The field sda\.core is "kindness"/, 'sda.core'],
    [
      { ...chat, sda: { rule: 'cd' } },
      400,
      /^The stream \w+ is run by the model "amateur", which is not given/,
      null,
    ],
    [
      { ...chat, temperature: 1, sda: { settings: { t0: 1 } } },
      400,
      /^t0 is given in sda\.settings and beside it/,
      'sda.settings.t0',
    ],
    [
      { ...chat, messages: [{ role: 'user', content: 'x'.repeat(1900) }] },
      400,
      /tokens, but the context holds/,
      null,
    ],
    ['{"model": "tiny", ', 400, /^The body is not JSON, or is cut off\.$/, null],
    ['[]', 400, /^The body is \[\]: /, null],
    [
      { ...chat, messages: [{ role: 'user', content: 'x'.repeat(3000) }] },
      413,
      /^The body has more than 2000 bytes/,
      null,
    ],
  ])('refuses %j', async (body, status, message, param) => {
    const response = await served.post('/v1/chat/completions', body);
    const { error } = (await response.json()) as Refusal;
    expect(error.message).toMatch(message);
    expect([response.status, error.param]).toEqual([status, param]);
    expect(error.type).toBe('invalid_request_error');
  });

  test('refuses what is not JSON, other methods and other places', async () => {
    const text = await served.post('/v1/completions', '{}', { 'content-type': 'text/plain' });
    expect(text.status).toBe(415);
    const get = await fetch(`${served.server.url}/v1/completions`, {
      headers: { authorization: `Bearer ${KEY}` },
    });
    expect([get.status, ((await get.json()) as Refusal).error.code]).toEqual([404, 'not_found']);
    expect((await served.post('/v2', {})).status).toBe(404);
  });

  test('tells what it did in numbers', async () => {
    const response = await fetch(`${served.server.url}/metrics`, {
      headers: { authorization: `Bearer ${KEY}` },
    });
    expect(response.headers.get('content-type')).toContain('text/plain');
    const text = await response.text();
    expect(text).toMatch(/sda_requests_total\{route="\/v1\/chat\/completions",status="200"\} \d+/);
    expect(text).toMatch(/sda_tokens_total\{kind="completion"\} \d+/);
    expect(text).toMatch(/sda_answers_running 0/);
    expect(text).toMatch(/sda_first_token_seconds_count \d+/);
    expect(text).toMatch(/process_resident_memory_bytes \d+/);
  });

  test('no key, and nothing of a conversation, is in what it tells of requests', () => {
    expect(lines.length).toBeGreaterThan(20);
    expect(faults).toEqual([]);
    const told = JSON.stringify(lines);
    expect(told).not.toContain(KEY);
    expect(told).not.toContain('Hello');
  });
});

describe('clients that leave', () => {
  const served = useServer({ places: 3, maxWaiting: 20 });

  test('free what their answers took, at any time', async () => {
    const body = { ...chat, max_tokens: 100, n: 2, sda: { core: 'empathy' } as const };
    await (await served.post('/v1/chat/completions', { ...body, max_tokens: 2 })).text();
    await idle(served);
    const before = memory().numTensors;
    const asked = Array.from({ length: 40 }, async (_, i) => {
      await new Promise((resolve) => setTimeout(resolve, 7 * i));
      const left = new AbortController();
      setTimeout(() => left.abort(), (11 * i) % 60);
      try {
        const response = await fetch(`${served.server.url}/v1/chat/completions`, {
          method: 'POST',
          headers: { 'content-type': 'application/json' },
          body: JSON.stringify({ ...body, stream: i % 2 === 0, seed: i }),
          signal: left.signal,
        });
        await response.text();
        return response.status;
      } catch {
        return 'left';
      }
    });
    const outcomes = await Promise.all(asked);
    expect(outcomes).toContain('left');
    await idle(served);
    expect(memory().numTensors).toBe(before);
    const after = await served.client.chat.completions.create({ ...chat, seed: 1 });
    expect(after.choices).toHaveLength(1);
  });
});

/** A server of one test. */
describe('a server that is full, or about to end', () => {
  let model: SdaModel;
  beforeAll(async () => {
    model = await loadModel(tinyFolder('tiny-llama-tied'));
  });
  afterAll(() => model.dispose());
  const open = (options: Partial<ServeOptions>) =>
    serve(model, { name: NAME, port: 0, ...options });
  const clientOf = ({ url }: SdaServer) =>
    new OpenAI({ baseURL: `${url}/v1`, apiKey: 'none', maxRetries: 0, logLevel: 'off' });

  test('says 429 and when to come again, and the client that does gets its answer', async () => {
    const server = await open({ places: 1, maxWaiting: 1 });
    const client = clientOf(server);
    const long = { ...chat, max_tokens: 100, n: 2 };
    const first = client.chat.completions.create({ ...long, stream: true });
    for await (const _ of await first) {
      const { status, headers, error } = await client.chat.completions.create(chat).then(
        () => ({ status: 200, headers: new Headers(), error: null }),
        (refusal: { status: number; headers: Headers; error: object }) => refusal,
      );
      expect([status, headers.get('retry-after')]).toEqual([429, '1']);
      expect(error).toMatchObject({ type: 'rate_limit_error', code: 'queue_full' });
      break;
    }
    await idle({ server });
    expect((await client.chat.completions.create(chat)).choices).toHaveLength(1);
    await server.close();
  });

  test('finishes what runs and takes nothing more', async () => {
    const server = await open({ places: 2 });
    const client = clientOf(server);
    const stream = await client.chat.completions.create({ ...chat, max_tokens: 60, stream: true });
    let closed: Promise<void> | undefined;
    let reason: string | null = null;
    for await (const { choices } of stream) {
      closed ??= server.close();
      reason = choices[0]?.finish_reason ?? reason;
    }
    expect(['stop', 'length']).toContain(reason);
    await closed;
    await expect(client.chat.completions.create(chat)).rejects.toThrow();
  });

  test('an address that is taken is an error of one sentence', async () => {
    const server = await open({});
    const port = Number(new URL(server.url).port);
    const before = memory().numTensors;
    await expect(open({ port })).rejects.toMatchObject({
      code: 'bad-input',
      message: expect.stringMatching(
        /^The server cannot listen on 127\.0\.0\.1, port \d+ \(.*\): give another/,
      ),
    });
    expect(memory().numTensors).toBe(before);
    await server.close();
  });
});
