import { expect, test, vi } from 'vitest';
import { fixedEvaluator } from '../../src/evaluate/fixed.js';
import { Dice, type Json, mutateBytes, mutateJson } from '../fuzz/mutate.js';
import { useTensorFlow } from '../support/tensorflow.js';
import { idle, NAME, useServer } from './served.js';

vi.setConfig({ testTimeout: 3_600_000 });
useTensorFlow();

/** `npm run fuzz` runs twenty times as many */
const COUNT = 250 * Number(process.env.SDA_FUZZ_CASES ?? 1);
const SEED = Number(process.env.SDA_FUZZ_SEED ?? 1);

const faults: unknown[] = [];
const served = useServer({
  places: 4,
  evaluators: { fixed: fixedEvaluator(50) },
  limits: { maxTokens: 8, body: 20_000 },
  onFault: (error) => faults.push(error),
});

const BODIES: readonly [string, Json][] = [
  [
    '/v1/chat/completions',
    { model: NAME, messages: [{ role: 'user', content: 'Hi' }], max_tokens: 3 },
  ],
  [
    '/v1/chat/completions',
    {
      model: NAME,
      messages: [
        { role: 'system', content: [{ type: 'text', text: 'Be kind.' }] },
        { role: 'user', content: 'Hi' },
      ],
      n: 2,
      stop: ['a'],
      seed: 3,
      max_completion_tokens: 3,
      temperature: 0.7,
      top_p: 0.9,
      logprobs: true,
      top_logprobs: 2,
      stream: true,
      stream_options: { include_usage: true },
    },
  ],
  [
    '/v1/chat/completions',
    {
      model: NAME,
      messages: [{ role: 'user', content: 'Hi' }],
      max_tokens: 3,
      sda: { core: 'empathy', evaluator: 'fixed', settings: { k: 2, sigma: 0.01 }, trace: true },
    },
  ],
  [
    '/v1/chat/completions',
    {
      model: NAME,
      messages: [{ role: 'user', content: 'Hi' }],
      max_tokens: 3,
      sda: {
        rule: 'cfg',
        settings: { weight: 1.5 },
        instruction: 'Be brief.',
        negative: 'Be long.',
      },
    },
  ],
  [
    '/v1/completions',
    { model: NAME, prompt: [[7, 8, 9], [10]], max_tokens: 2, echo: true, logprobs: 2 },
  ],
  ['/v1/completions', { model: NAME, prompt: 'Hi', max_tokens: 2, n: 1, best_of: 3 }],
  [
    '/v1/completions',
    {
      model: NAME,
      prompt: 'Hi',
      max_tokens: 2,
      sda: { prompts: { instructed: 'Hi you' } },
      stream: true,
    },
  ],
];

/** What is wrong with an answer; null where nothing is. */
function faultOf(status: number, text: string): string | null {
  if (status === 200) {
    const broken = text.startsWith('data: ') && !text.endsWith('data: [DONE]\n\n');
    return broken || text.includes('"server_error"') ? `200 with ${text.slice(-200)}` : null;
  }
  if (![400, 404, 413, 415].includes(status)) return `status ${status}: ${text.slice(0, 300)}`;
  const { message } = (JSON.parse(text) as { error: { message: string } }).error;
  return /^[\w"].* .*\.$/s.test(message) && !/\[object|undefined/.test(message)
    ? null
    : `no sentence: ${message}`;
}

test('mutated requests are answered, or refused in a sentence', async () => {
  let accepted = 0;
  for (let i = 0; i < COUNT; i++) {
    const dice = new Dice(SEED * 1_000_003 + i);
    const [path, body] = dice.pick(BODIES);
    let json = JSON.parse(JSON.stringify(body)) as Json;
    for (let times = 1 + dice.below(3); times > 0; times--) json = mutateJson(json, dice);
    const bytes = Buffer.from(JSON.stringify(json) ?? '');
    const sent = dice.below(6) === 0 ? mutateBytes(bytes, dice) : bytes;
    const response = await fetch(served.server.url + path, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: Buffer.from(sent),
      signal: AbortSignal.timeout(60_000), // a hang
    });
    const fault = faultOf(response.status, await response.text());
    expect(fault && `SDA_FUZZ_SEED=${SEED} case ${i}: ${fault}; ${Buffer.from(sent)}`).toBeNull();
    if (response.status === 200) accepted++;
  }
  expect(accepted).toBeGreaterThan(COUNT / 50);
  expect(accepted).toBeLessThan(COUNT);
  expect(faults).toEqual([]);
  await idle(served);
});
