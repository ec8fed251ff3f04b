import { describe, expect, test } from 'vitest';
import { fixedEvaluator } from '../../src/evaluate/fixed.js';
import { amplify, type GenerateRequest, ruleNamed } from '../../src/index.js';
import type { Rule } from '../../src/rules/define.js';
import { useTensorFlow } from '../support/tensorflow.js';
import { alone, NAME, useServer } from './served.js';

useTensorFlow();
const served = useServer({ evaluators: { fixed: fixedEvaluator(40) } });

const messages = [{ role: 'user' as const, content: 'Hello there, how are you?' }];
const plain = { mode: 'base' as const, t0: 1, topP: 1, topK: 0, minP: 0 };
/** Fields of this server, which the client's types do not know */
const extra = <T>(fields: T) => fields as object;

describe('chat completions', () => {
  test('decode plainly where nothing else is asked for, with usage', async () => {
    const { choices, usage, model, object } = await served.client.chat.completions.create({
      model: NAME,
      messages,
      seed: 5,
      max_tokens: 20,
    });
    const expected = await alone(served, {
      query: messages[0]!.content,
      settings: plain,
      singleStream: true,
      seed: 5,
      maxTokens: 20,
    } as GenerateRequest<Rule>);
    expect([model, object]).toEqual([NAME, 'chat.completion']);
    expect(choices).toHaveLength(1);
    expect(choices[0]).toMatchObject({
      index: 0,
      message: { role: 'assistant', content: expected.answer },
    });
    expect(choices[0]!.finish_reason).toBe(expected.finishReason === 'stop' ? 'stop' : 'length');
    expect(choices[0]).not.toHaveProperty('sda');
    const tokens = expected.tokenIds.length;
    const prompt = expected.promptTokens.base!;
    expect(usage).toEqual({
      prompt_tokens: prompt,
      completion_tokens: tokens,
      total_tokens: prompt + tokens,
    });
  });

  test.each([
    [{}, 'sda', { core: 'helpfulness' }],
    [
      { core: 'empathy', score: 30 },
      'sda',
      { core: 'empathy', settings: { amplification: amplify(30) } },
    ],
    [
      { instruction: 'Be brief.', settings: { k: 3, amplification: 0.5 }, placement: 'system' },
      'sda',
      { instruction: 'Be brief.', settings: { k: 3, amplification: 0.5 }, placement: 'system' },
    ],
    [
      { rule: 'cfg', settings: { weight: 2 }, negative: 'Be cold.' },
      'cfg',
      { settings: { weight: 2 }, negative: 'Be cold.' },
    ],
    [{ rule: 'adacad', instruction: 'Mars is red.' }, 'adacad', { instruction: 'Mars is red.' }],
  ])('with sda %j', async (field, rule, request) => {
    const { choices } = await served.client.chat.completions.create({
      model: NAME,
      messages: [{ role: 'system', content: 'You are kind.' }, ...messages],
      seed: 9,
      max_tokens: 16,
      stop: ['zz'],
      ...extra({ sda: field }),
    });
    const expected = await alone(served, {
      system: 'You are kind.',
      query: messages[0]!.content,
      rule: ruleNamed(rule),
      seed: 9,
      maxTokens: 16,
      stop: ['zz'],
      ...request,
    } as GenerateRequest<Rule>);
    const [choice] = choices as unknown as [{ message: object; sda: Record<string, unknown> }];
    expect(choice.message).toMatchObject({ content: expected.answer });
    expect(choice.sda).toMatchObject({ rule, prompt_tokens: expected.promptTokens });
    expect(choice.sda).not.toHaveProperty('trace');
  });

  test('a conversation is rendered turn by turn', async () => {
    const turns = [
      { role: 'developer' as const, content: [{ type: 'text' as const, text: 'You are kind.' }] },
      { role: 'user' as const, content: 'Hi' },
      { role: 'assistant' as const, content: 'Hello' },
      { role: 'user' as const, content: 'Bye' },
    ];
    const { usage } = await served.client.chat.completions.create({
      model: NAME,
      messages: turns,
      max_tokens: 1,
    });
    // a character a token, a token for each role the tokenizer knows; "assistant" it does not
    const text = 'You are kind.HiHello<|assistant|>Bye';
    expect(usage!.prompt_tokens).toBe(text.length + '<|s|><|u|><|u|><|b|>'.split('>').length - 1);
  });

  test('stream the same text, with usage where it is asked for', async () => {
    for (const sda of [undefined, { core: 'empathy', trace: true }]) {
      const body = { model: NAME, messages, seed: 3, max_tokens: 24, n: 2, ...extra({ sda }) };
      const whole = await served.client.chat.completions.create(body);
      const stream = await served.client.chat.completions.create({
        ...body,
        stream: true,
        stream_options: { include_usage: true },
      });
      const texts = ['', ''];
      const reasons: (string | null)[] = [null, null];
      const steps = [0, 0];
      let usage: unknown;
      for await (const chunk of stream) {
        expect(chunk).toMatchObject({ object: 'chat.completion.chunk', model: NAME });
        if (chunk.usage) usage = chunk.usage;
        for (const choice of chunk.choices) {
          texts[choice.index] += choice.delta.content ?? '';
          reasons[choice.index] ??= choice.finish_reason;
          if ('step' in ((choice as { sda?: object }).sda ?? {})) steps[choice.index]!++;
        }
      }
      expect(texts).toEqual(whole.choices.map(({ message }) => message.content));
      expect(texts[0]).not.toBe(texts[1]);
      expect(reasons).toEqual(whole.choices.map(({ finish_reason }) => finish_reason));
      expect(usage).toEqual(whole.usage);
      const tokens = whole.usage!.completion_tokens;
      expect(steps[0]! + steps[1]!).toBe(sda ? tokens : 0);
    }
  });

  test('n answers are those of seeds that follow each other', async () => {
    const body = { model: NAME, messages, max_tokens: 12 };
    const three = await served.client.chat.completions.create({ ...body, n: 3, seed: 20 });
    for (const [index, { message }] of three.choices.entries()) {
      const one = await served.client.chat.completions.create({ ...body, seed: 20 + index });
      expect(one.choices[0]!.message.content).toBe(message.content);
    }
  });

  test('log-probabilities are those of the model, with the likeliest tokens', async () => {
    const { choices } = await served.client.chat.completions.create({
      model: NAME,
      messages,
      seed: 2,
      max_tokens: 10,
      logprobs: true,
      top_logprobs: 4,
    });
    const { content } = choices[0]!.logprobs!;
    expect(content!.map(({ token }) => token).join('')).toBe(choices[0]!.message.content);
    const prompt = `<|user|>${messages[0]!.content}<|bot|>`;
    const tokenizer = await served.model.tokenizer();
    let ids = tokenizer.encode(prompt);
    for (const { token, logprob, top_logprobs } of content!) {
      const logits = await served.model.logits(ids);
      const [id] = tokenizer.encode(token);
      const known = [...logits.keys()].filter((each) => tokenizer.hasToken(each));
      const sum = known.reduce((total, each) => total + Math.exp(logits[each]!), 0);
      const logps = known.map((each) => logits[each]! - Math.log(sum)).sort((a, b) => b - a);
      expect(logprob).toBeCloseTo(logits[id!]! - Math.log(sum), 3);
      for (const [place, each] of top_logprobs.entries()) {
        expect(each.logprob).toBeCloseTo(logps[place]!, 3);
      }
      expect(top_logprobs).toHaveLength(4);
      ids = [...ids, id!];
    }
  });

  test('the trace says what the rule says of each token', async () => {
    const { choices } = await served.client.chat.completions.create({
      model: NAME,
      messages,
      seed: 2,
      max_tokens: 6,
      ...extra({ sda: { core: 'truthful', trace: true } }),
    });
    const { sda } = choices[0] as unknown as { sda: { trace: Record<string, number>[] } };
    expect(sda.trace.length).toBeGreaterThan(0);
    for (const [step, line] of sda.trace.entries()) {
      expect(line.step).toBe(step);
      for (const name of ['js', 'temperature', 'logp_base', 'logp_instructed', 'logp', 'id']) {
        expect(Number.isFinite(line[name]), name).toBe(true);
      }
    }
  });
});

describe('an evaluator scores the base answer first', () => {
  const ask = (sda: object, more: object = {}) =>
    served.client.chat.completions.create({
      model: NAME,
      messages,
      seed: 4,
      max_tokens: 12,
      ...more,
      ...extra({ sda }),
    });

  test('and its score gives a', async () => {
    const completion = await ask({ core: 'empathy', evaluator: 'fixed' });
    const { sda } = completion as unknown as { sda: Record<string, unknown> };
    const base = await alone(served, {
      query: messages[0]!.content,
      settings: { mode: 'base' },
      singleStream: true,
      seed: 4,
      maxTokens: 12,
    } as GenerateRequest<Rule>);
    const a = amplify(40);
    expect(sda).toEqual({
      evaluator: 'fixed',
      score: 40,
      amplification: a,
      base: { text: base.text, answer: base.answer },
    });
    const aligned = await alone(served, {
      query: messages[0]!.content,
      core: 'empathy',
      settings: { amplification: a },
      seed: 4,
      maxTokens: 12,
    } as GenerateRequest<Rule>);
    expect(completion.choices[0]!.message.content).toBe(aligned.answer);
  });

  test('by the model itself as `sda score` does', async () => {
    const completion = await ask({ core: 'empathy', evaluator: 'intrinsic' });
    const { sda } = completion as unknown as {
      sda: { score: number; amplification: number; base: { answer: string } };
    };
    const { intrinsicEvaluator } = await import('../../src/evaluate/intrinsic-evaluator.js');
    const response = sda.base.answer;
    const scored = await intrinsicEvaluator(served.model).score({
      query: messages[0]!.content,
      response,
      core: 'empathy',
    });
    expect(scored.status).toBe('scored');
    if (scored.status === 'scored') expect(sda.score).toBeCloseTo(scored.score, 4);
    expect(sda.amplification).toBe(amplify(sda.score));
  });

  test('or the answer says that there is none', async () => {
    await expect(ask({ evaluator: 'gpt' })).rejects.toMatchObject({
      status: 400,
      message: expect.stringContaining(
        'There is no evaluator "gpt" here: there is intrinsic, fixed.',
      ),
    });
    await expect(ask({ evaluator: 'fixed', score: 3 })).rejects.toMatchObject({ status: 400 });
    await expect(ask({ rule: 'cfg', evaluator: 'fixed' })).rejects.toMatchObject({ status: 400 });
  });
});
