import { describe, expect, test } from 'vitest';
import type { GenerateRequest } from '../../src/index.js';
import type { Rule } from '../../src/rules/define.js';
import { useTensorFlow } from '../support/tensorflow.js';
import { alone, NAME, useServer } from './served.js';

useTensorFlow();
const served = useServer();

const PLAIN = { mode: 'base' as const, t0: 1, topP: 1 };
const extra = <T>(fields: T) => fields as object;
const idsOf = async (text: string) => (await served.model.tokenizer()).encode(text);

/** log P of each token after those before it, by the model's own logits; null of the first. */
async function logProbs(ids: readonly number[]): Promise<(number[] | null)[]> {
  const tokenizer = await served.model.tokenizer();
  const found: (number[] | null)[] = [null];
  for (let at = 1; at < ids.length; at++) {
    const logits = await served.model.logits(ids.slice(0, at));
    const masked = logits.map((logit, id) => (tokenizer.hasToken(id) ? logit : -Infinity));
    const sum = masked.reduce((total, logit) => total + Math.exp(logit), 0);
    found.push([...masked.map((logit) => logit - Math.log(sum))]);
  }
  return found;
}

describe('completions', () => {
  test('go on with a text, token ids, or several of them', async () => {
    const text = 'Once upon a time';
    const ids = await idsOf(text);
    const ask = (prompt: string | string[] | number[] | number[][]) =>
      served.client.completions.create({ model: NAME, prompt, seed: 7, max_tokens: 9, n: 2 });
    const one = await ask(text);
    for (const [index, choice] of one.choices.entries()) {
      const expected = await alone(served, {
        streams: { base: { ids } },
        settings: PLAIN,
        singleStream: true,
        seed: 7 + index,
        maxTokens: 9,
      } as GenerateRequest<Rule>);
      expect(choice).toMatchObject({ index, text: expected.text, logprobs: null });
    }
    expect(one.usage!.prompt_tokens).toBe(ids.length);
    const texts = one.choices.map((choice) => choice.text);
    expect((await ask(ids)).choices.map((choice) => choice.text)).toEqual(texts);
    for (const several of [await ask([text, 'Other']), await ask([ids, await idsOf('Other')])]) {
      expect(several.choices.map(({ index }) => index)).toEqual([0, 1, 2, 3]);
      expect(several.choices.slice(0, 2).map((choice) => choice.text)).toEqual(texts);
      expect(several.usage!.prompt_tokens).toBe(ids.length + 5);
    }
  });

  test.each([0, 1])(
    'echo a prompt with the log-probabilities of its own tokens, and %d more',
    async (more) => {
      const ids = await idsOf('The cat sat on the mat');
      const { choices } = await served.client.completions.create({
        model: NAME,
        prompt: ids,
        echo: true,
        logprobs: 2,
        max_tokens: more,
        temperature: 0,
      });
      const { tokens, token_logprobs, top_logprobs, text_offset } = choices[0]!.logprobs!;
      expect(choices[0]!.text.startsWith('The cat sat on the mat')).toBe(true);
      expect(tokens!.join('')).toBe(choices[0]!.text);
      expect(tokens!.length).toBeGreaterThanOrEqual(ids.length);
      expect(token_logprobs![0]).toBeNull();
      expect(top_logprobs![0]).toBeNull();
      const expected = await logProbs(ids);
      for (let at = 1; at < ids.length; at++) {
        const line = expected[at]!;
        expect(token_logprobs![at]!).toBeCloseTo(line[ids[at]!]!, 3);
        const told = Object.values(top_logprobs![at]!).sort((a, b) => b - a);
        expect(told[0]!).toBeCloseTo(Math.max(...line), 3);
        expect(told.length).toBeGreaterThanOrEqual(2);
        expect(text_offset![at]).toBe(at);
      }
    },
  );

  test('a greedy continuation is the likeliest at each place, as harnesses check it', async () => {
    const ids = await idsOf('The cat');
    const { choices } = await served.client.completions.create({
      model: NAME,
      prompt: ids,
      max_tokens: 6,
      temperature: 0,
    });
    const whole = [...ids, ...(await idsOf(choices[0]!.text))];
    const told = await served.client.completions.create({
      model: NAME,
      prompt: whole,
      echo: true,
      logprobs: 1,
      max_tokens: 1,
      temperature: 0,
    });
    const { token_logprobs, top_logprobs } = told.choices[0]!.logprobs!;
    for (let at = ids.length; at < whole.length; at++) {
      expect(token_logprobs![at]).toBe(Math.max(...Object.values(top_logprobs![at]!)));
    }
  });

  test('stream the same text and log-probabilities', async () => {
    const body = {
      model: NAME,
      prompt: 'Streams',
      max_tokens: 12,
      seed: 3,
      echo: true,
      logprobs: 1,
    };
    const whole = await served.client.completions.create(body);
    const stream = await served.client.completions.create({ ...body, stream: true });
    let text = '';
    const logprobs: (number | null)[] = [];
    const offsets: number[] = [];
    for await (const chunk of stream) {
      for (const choice of chunk.choices) {
        text += choice.text;
        logprobs.push(...((choice.logprobs?.token_logprobs ?? []) as (number | null)[]));
        offsets.push(...(choice.logprobs?.text_offset ?? []));
      }
    }
    expect(text).toBe(whole.choices[0]!.text);
    expect(logprobs).toEqual(whole.choices[0]!.logprobs!.token_logprobs);
    expect(offsets).toEqual(whole.choices[0]!.logprobs!.text_offset);
  });

  test('tell of the token that ends a text, too: harnesses drop one token a completion', async () => {
    const tokenizer = await served.model.tokenizer();
    const end = tokenizer.decode([tokenizer.eosTokenId!]);
    for (let seed = 0; ; seed++) {
      expect(seed).toBeLessThan(200);
      const { choices } = await served.client.completions.create({
        model: NAME,
        prompt: 'End',
        max_tokens: 40,
        seed,
        logprobs: 0,
        temperature: 1.9,
      });
      const { tokens, token_logprobs } = choices[0]!.logprobs!;
      expect(token_logprobs).toHaveLength(tokens!.length);
      if (choices[0]!.finish_reason !== 'stop' || tokens!.at(-1) !== end) continue;
      expect(choices[0]!.text).toBe(tokens!.filter((token) => !/^<.*>$/.test(token)).join(''));
      break;
    }
  });

  test('are the likeliest of best_of, and all of them are counted', async () => {
    const prompts = [await idsOf('Once'), await idsOf('Twice upon')];
    const made: { text: string; mean: number; length: number }[][] = [];
    for (const prompt of prompts) {
      const body = { model: NAME, prompt, seed: 5, max_tokens: 6, n: 4, logprobs: 0 };
      const { choices } = await served.client.completions.create(body);
      const texts = choices.map(({ text, logprobs }) => {
        const logps = logprobs!.token_logprobs as number[];
        return { text, length: logps.length, mean: logps.reduce((a, b) => a + b) / logps.length };
      });
      made.push(texts);
    }
    const best = made.map((texts) => [...texts].sort((a, b) => b.mean - a.mean).slice(0, 2));
    const { choices, usage } = await served.client.completions.create({
      model: NAME,
      prompt: prompts,
      seed: 5,
      max_tokens: 6,
      n: 2,
      best_of: 4,
      echo: true,
    });
    const echoed = ['Once', 'Twice upon'];
    expect(choices.map(({ index }) => index)).toEqual([0, 1, 2, 3]);
    expect(choices.map(({ text }) => text)).toEqual(
      best.flatMap((texts, prompt) => texts.map(({ text }) => echoed[prompt]! + text)),
    );
    const length = made.flat().reduce((sum, each) => sum + each.length, 0);
    expect(usage).toMatchObject({
      prompt_tokens: prompts[0]!.length + prompts[1]!.length,
      completion_tokens: length,
    });
  });

  test.each([
    [{ n: 3, best_of: 2 }, /^best_of is 2, but must be at least n, which is 3\.$/],
    [{ best_of: 2, stream: true }, /cannot be streamed: leave out stream or best_of\.$/],
    [{ best_of: 0 }, /^The field best_of is 0: /],
    [{ best_of: 10_000 }, /answers are asked for, but there are at most/],
  ])('refuse %j', async (fields, sentence) => {
    const response = await served.post('/v1/completions', {
      model: NAME,
      prompt: 'a',
      ...fields,
    });
    expect(response.status).toBe(400);
    const { error } = (await response.json()) as { error: { message: string } };
    expect(error.message).toMatch(sentence);
  });

  test('by a rule take the prompts of its other streams', async () => {
    const [base, instructed] = ['Say hello', 'Say hello kindly'];
    const { choices } = await served.client.completions.create({
      model: NAME,
      prompt: base,
      seed: 1,
      max_tokens: 8,
      ...extra({ sda: { settings: { amplification: 0.4 }, prompts: { instructed } } }),
    });
    const expected = await alone(served, {
      prompts: { baseIds: await idsOf(base), instructedIds: await idsOf(instructed) },
      settings: { amplification: 0.4 },
      seed: 1,
      maxTokens: 8,
    } as GenerateRequest<Rule>);
    expect(choices[0]!.text).toBe(expected.text);
  });
});
