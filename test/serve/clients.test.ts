import { expect, test } from 'vitest';
import { fixedEvaluator } from '../../src/evaluate/fixed.js';
import { Random } from '../support/random.js';
import { useTensorFlow } from '../support/tensorflow.js';
import { NAME, useServer } from './served.js';

useTensorFlow();
const served = useServer({ places: 5, evaluators: { fixed: fixedEvaluator(55) } });

const CORES = ['empathy', 'harmlessness', 'truthful'];
const RULES = [
  'cfg',
  'cad',
  'adacad',
  'coiecd',
  'rose',
  'edt',
  'plain',
  'preadd',
  'self-debias',
  'linear-alignment',
];

/** What client `i` asks for: none asks for the same. */
function bodyOf(i: number): { chat: boolean; body: Record<string, unknown> } {
  const common = {
    model: NAME,
    seed: 100 + i,
    max_tokens: 6 + ((5 * i) % 19),
    top_p: 0.5 + 0.03 * (i % 16),
    ...(i % 3 === 0 && { stop: ['e', 'qu'] }),
  };
  const text = `Question ${'abc '.repeat(1 + (i % 7))}number ${i}?`;
  if (i % 4 === 3)
    return { chat: false, body: { ...common, prompt: text, temperature: 0.2 * (i % 6) } };
  const sda = [
    undefined,
    { core: CORES[i % 3], settings: { amplification: 0.1 * (i % 8), k: 1 + (i % 3) } },
    { core: CORES[i % 3], evaluator: i % 8 === 2 ? 'intrinsic' : 'fixed' },
  ][i % 3];
  const field =
    i % 5 === 4
      ? { rule: RULES[i % RULES.length], instruction: `Be ${i}.`, negative: 'Be bad.' }
      : sda;
  return {
    chat: true,
    body: { ...common, messages: [{ role: 'user', content: text }], ...(field && { sda: field }) },
  };
}

/** The text of an answer, streamed or whole. */
async function textOf(i: number, stream: boolean): Promise<string> {
  const { chat, body } = bodyOf(i);
  const path = chat ? '/v1/chat/completions' : '/v1/completions';
  const response = await served.post(path, { ...body, stream });
  expect(response.status).toBe(200);
  if (!stream) {
    const { choices } = (await response.json()) as {
      choices: [{ text?: string; message?: { content: string } }];
    };
    return choices[0].text ?? choices[0].message!.content;
  }
  const events = (await response.text()).trim().split('\n\n');
  expect(events.pop()).toBe('data: [DONE]');
  return events
    .map((event) => {
      const { choices } = JSON.parse(event.slice('data: '.length)) as {
        choices: { text?: string; delta?: { content?: string } }[];
      };
      return choices[0]?.text ?? choices[0]?.delta?.content ?? '';
    })
    .join('');
}

test('16 clients at random times, each with other settings: every text is that of the client alone', async () => {
  const clients = Array.from({ length: 16 }, (_, i) => i);
  const alone: string[] = [];
  for (const i of clients) alone.push(await textOf(i, false));
  expect(new Set(alone).size).toBeGreaterThan(12);
  const dice = new Random(17);
  for (let round = 0; round < 3; round++) {
    const together = await Promise.all(
      clients.map(async (i) => {
        await new Promise((resolve) => setTimeout(resolve, 250 * dice.uniform()));
        return textOf(i, (i + round) % 2 === 0);
      }),
    );
    expect(together).toEqual(alone);
  }
});
