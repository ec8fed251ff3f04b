import { rmSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  loadModel,
  openModel,
  type RemoteEngine,
  ruleNamed,
  type SdaModel,
} from '../../../src/index.js';
import { readAll } from '../../support/answers.js';
import { golden } from '../../support/checkpoints.js';
import { errorOf, useTensorFlow } from '../../support/tensorflow.js';
import { tinyFolder } from '../../support/tiny-tokenizer.js';
import { Vllm, type VllmOptions } from '../../support/vllm-server.js';

useTensorFlow();

const { sda } = golden('tiny-llama');
const prompts = { baseIds: sda.base, instructedIds: sda.instructed };

let dir: string;
let local: SdaModel;
beforeAll(async () => {
  dir = tinyFolder('tiny-llama');
  local = await loadModel(dir);
});
afterAll(() => {
  local.dispose();
  rmSync(dir, { recursive: true, force: true });
});

/** What is said of a server that plays in some way, as it is opened and asked. */
async function said(
  options: Partial<VllmOptions>,
  engine: Partial<RemoteEngine> = {},
  request: object = {},
  change: (vllm: Vllm) => unknown = () => {},
): Promise<string> {
  const vllm = await Vllm.start({ model: local, ...options });
  const { url } = vllm;
  const { message } = await errorOf(async () => {
    const model = await openModel(dir, {
      engine: { kind: 'vllm', baseUrl: url, patienceS: 0.4, ...engine },
    });
    await change(vllm);
    await readAll(model.generate({ prompts, maxTokens: 8, ...request }));
  });
  await vllm.close();
  expect(message).toMatch(/^[A-Z].*\.$/s);
  expect(message.split('. ').length).toBe(1); // one sentence
  return message.replaceAll(url, 'URL').replaceAll(url.slice(0, -3), 'ROOT');
}

describe('a server that cannot be used is told of in a sentence', () => {
  test('no vLLM', async () => {
    expect(await said({ version: null })).toMatch(
      /^The server at URL is no vLLM \(it has no ROOT\/version\).*--engine logprobs:URL\.$/,
    );
  });
  test('no plugin', async () => {
    expect(await said({ plugin: false })).toMatch(
      /^The vLLM 0\.32\.0 at URL runs without sda-vllm/,
    );
  });
  test('a plugin that is gone in the middle', async () => {
    const message = await said({}, {}, {}, ({ options }) => {
      options.plugin = false;
    });
    expect(message).toMatch(/^The server at URL answered without a step of sda-vllm/);
  });
  test('nothing there', async () => {
    const { message } = await errorOf(() =>
      openModel(dir, { engine: { kind: 'vllm', baseUrl: 'http://127.0.0.1:9/v1' } }),
    );
    expect(message).toMatch(/^The server at http:\/\/127\.0\.0\.1:9\/v1 cannot be reached/);
  });
  test('a key that is missing', async () => {
    process.env.SDA_TEST_KEY = 'a-secret-key';
    expect(await said({ key: 'a-secret-key' })).toMatch(
      /^The server at URL answered 401: "Unauthorized"; give its key in the environment variable VLLM_API_KEY\.$/,
    );
    const message = await said({ key: 'other' }, { apiKeyEnv: 'SDA_TEST_KEY' });
    expect(message).toMatch(/environment variable SDA_TEST_KEY\.$/);
    expect(message).not.toContain('a-secret-key');
    delete process.env.SDA_TEST_KEY;
  });
  test('another model', async () => {
    expect(await said({ names: ['a', 'b'] })).toMatch(
      /^The server at URL has several models \(a, b\)/,
    );
    expect(await said({ names: ['a', 'b'] }, { model: 'c' })).toMatch(
      /has no model "c": it has a, b\.$/,
    );
    expect(await said({ vocabSize: 7 })).toMatch(/^The model m at URL has 7 ids, but the folder/);
    expect(await said({ tokenize: () => [1, 2, 3] })).toMatch(
      /^The model m at URL makes other tokens of "Hello, world!" \(1 2 3 \.\.\.\) than/,
    );
  });
  test('another model after a restart', async () => {
    const message = await said({ away: 50 }, { patienceS: 3 }, {}, ({ options }) => {
      options.fate = () => {
        options.vocabSize = 7;
        return 'down';
      };
    });
    expect(message).toMatch(/^The server at URL came back with another model/);
  });
  test('a server that stays away', async () => {
    const message = await said({ away: 10_000 }, {}, {}, ({ options }) => {
      options.fate = () => 'down';
    });
    expect(message).toMatch(/^The server at URL cannot be reached \(.*the connection was closed/);
  });
  test('partners that never come', async () => {
    const message = await said({}, {}, {}, ({ options }) => {
      options.fate = () => 'left';
    });
    expect(message).toMatch(/did not come within 30 s\.$/);
  });
  test('rows that never meet', async () => {
    const message = await said({}, {}, {}, ({ options }) => {
      options.fate = () => 'lone';
    });
    expect(message).toMatch(/has not run the 2 streams of an answer together in 20 attempts/);
  });
  test('no room in the cache', async () => {
    const refusal = 'sda: the KV cache of this server has no room for all streams of this answer';
    const message = await said({ refusal });
    expect(message).toMatch(
      /^The server at URL ended an answer: the KV cache of this server has no room/,
    );
  });
  test('a context that is shorter than it says', async () => {
    const message = await said({}, {}, { maxTokens: 60 }, ({ options }) => {
      options.maxContext = 30;
    });
    expect(message).toMatch(
      /^The server at URL answered 400: "This model's maximum context length is 30/,
    );
  });
  test('a rule that is no blend, and one of other models', async () => {
    const asked = { query: 'Hi', prompts: undefined, instruction: 'Be.' };
    expect(await said({}, {}, { ...asked, rule: ruleNamed('coiecd') })).toMatch(
      /^The rule coiecd is no weighted sum of streams/,
    );
    expect(await said({}, {}, { ...asked, rule: ruleNamed('cd') })).toMatch(
      /^The rule cd has the stream amateur run by another model/,
    );
  });
  test('prompts of one token', async () => {
    expect(await said({}, {}, { prompts: { baseIds: [5], instructedIds: [5, 6] } })).toMatch(
      /^The base prompt has one token/,
    );
  });
});
