import { rmSync } from 'node:fs';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import {
  type AnsweringModel,
  type GenerateRequest,
  loadModel,
  openModel,
  type Rule,
  ruleNamed,
  type SdaModel,
  sdaSeveral,
} from '../../../src/index.js';
import { hasNativeKernel } from '../../../src/runtime/native.js';
import { readAll, summaryOf } from '../../support/answers.js';
import { golden } from '../../support/checkpoints.js';
import { Random } from '../../support/random.js';
import { useTensorFlow } from '../../support/tensorflow.js';
import { tinyFolder } from '../../support/tiny-tokenizer.js';
import { type Fate, Vllm } from '../../support/vllm-server.js';

useTensorFlow();

const { sda } = golden('tiny-llama');
const prompts = { baseIds: sda.base, instructedIds: sda.instructed };

let dir: string;
let local: SdaModel;
let vllm: Vllm;
let remote: AnsweringModel;

beforeAll(async () => {
  dir = tinyFolder('tiny-llama');
  local = await loadModel(dir);
  const tokenizer = await local.tokenizer();
  const tokenize = (text: string) => tokenizer.encode(text, { addSpecialTokens: false });
  vllm = await Vllm.start({ model: local, tokenize });
  remote = await openModel(dir, { engine: { kind: 'vllm', baseUrl: vllm.url, patienceS: 5 } });
});
afterEach(() => {
  vllm.options.fate = () => 'told';
});
afterAll(async () => {
  remote.dispose();
  await vllm.close();
  local.dispose();
  rmSync(dir, { recursive: true, force: true });
});

/** An answer with its steps. */
function answered<R extends Rule>(model: AnsweringModel, request: GenerateRequest<R>) {
  return readAll(model.generate(request));
}

/** That the server's answer is this machine's, but for timings. */
async function expectSame<R extends Rule>(request: GenerateRequest<R>): Promise<void> {
  const [here, there] = [await answered(local, request), await answered(remote, request)];
  const { timing: _here, ...expected } = here.summary;
  const { timing: _there, ...found } = there.summary;
  expect(found).toEqual(expected);
  expectSteps(there.steps, here.steps);
}

/** To the bit with the native kernels; without them products depend on what else is in the batch. */
function expectSteps(found: object[], expected: object[]): void {
  const told = (steps: object[]) =>
    hasNativeKernel('SdaDecoderLayers') ? steps : steps.map((step) => 'id' in step && step.id);
  expect(told(found)).toEqual(told(expected));
}

const QUERIES: [string, GenerateRequest][] = [
  ['greedy', { prompts, settings: { greedy: true } }],
  ['seeded', { prompts, seed: 5, settings: { t0: 1.5, sigma: 1, topP: 0.9 } }],
  ['with every cut', { prompts, seed: 6, settings: { t0: 2, sigma: 1, topK: 9, minP: 0.01 } }],
  ['an ablation', { prompts, seed: 7, settings: { mode: 'steering', t0: 1.2 } }],
  ['one stream', { prompts, seed: 8, singleStream: true, settings: { mode: 'base', t0: 1.4 } }],
  ['a text', { query: 'Hello', instruction: 'Be kind.', seed: 9, settings: { t0: 3, sigma: 1 } }],
  [
    'a stop string',
    { query: 'Hi', instruction: 'Be.', seed: 2, stop: ['a', 'e'], settings: { t0: 5, sigma: 9 } },
  ],
  ['T0 = 0', { prompts, settings: { t0: 0 } }],
];

describe('an answer that a vLLM server draws is that of this machine', () => {
  test.each(QUERIES)('%s', (_, request) =>
    expectSame({ maxTokens: 24, ...request } as GenerateRequest),
  );

  const asked = { query: 'Hello', instruction: 'Be kind.', seed: 3, maxTokens: 16 };

  test.each([
    ['cfg', { weight: 1.5 }],
    ['adacad', { details: true }],
    ['edt', { temperature: 2 }],
    ['plain', { temperature: 3, topP: 0.7 }],
    ['preadd', {}],
  ])('the rule %s', (name, settings) => expectSame({ ...asked, rule: ruleNamed(name), settings }));

  test('a rule of many streams', () =>
    expectSame({
      ...asked,
      rule: sdaSeveral(['kind', 'brief', 'true']),
      settings: { temperature: 2, details: true },
      streams: { kind: { instruction: 'Be.' }, brief: { instruction: 'Be brief.' } },
    } as GenerateRequest<Rule>));

  test('up to the end of the context', async () => {
    const request = { prompts, settings: { greedy: true }, ignoreEos: true, maxTokens: 500 };
    await expectSame(request);
    expect((await answered(remote, request)).summary.finishReason).toBe('context');
  });

  test('many at once, as many as the server takes', async () => {
    const requests = Array.from({ length: 12 }, (_, seed) => ({
      prompts,
      seed,
      maxTokens: 8 + seed,
      settings: { t0: 1.5, sigma: 1 },
    }));
    const found: (number[] | undefined)[] = [];
    for await (const steps of remote.generateBatch(requests)) {
      for (const { query, summary } of steps) if (summary) found[query] = summary.tokenIds;
    }
    for (const [query, request] of requests.entries()) {
      expect(found[query]).toEqual((await answered(local, request)).summary.tokenIds);
    }
    expect(vllm.seen.most).toBeGreaterThan(1);
    expect(vllm.seen.most).toBeLessThanOrEqual(4); // 8 places, 2 streams each
  });
});

describe('what goes wrong on the way loses, doubles and changes no token', () => {
  const FATES: Fate[] = ['cut', 'half', 'lone', 'left', 'down', 'slow'];

  test.each(FATES)('%s', async (fate) => {
    const met = new Set<number>();
    vllm.options.fate = (_, token) => {
      const at = met.size * 3 + 2;
      if (met.size >= 3 || token !== 2) return 'told';
      met.add(at);
      return fate;
    };
    await expectSame({ prompts, seed: 11, maxTokens: 20, settings: { t0: 1.5, sigma: 1 } });
    expect(met.size).toBe(fate === 'slow' ? 1 : 3); // an answer that goes on meets it once
  });

  test('50 random ones', async () => {
    const random = new Random(3);
    let met = 0;
    vllm.options.away = 30;
    vllm.options.fate = () => {
      if (met >= 50 || random.uniform() > 0.12) return 'told';
      met++;
      return FATES[Math.floor(random.uniform() * FATES.length)]!;
    };
    for (let seed = 0; met < 50; seed++) {
      const requests = [0, 1, 2, 3].map((n) => ({
        prompts,
        seed: 4 * seed + n,
        maxTokens: 24,
        settings: { t0: 1.5, sigma: 1 },
      }));
      const there = await Promise.all(requests.map((request) => answered(remote, request)));
      for (const [index, request] of requests.entries()) {
        const here = await answered(local, request);
        expectSteps(there[index]!.steps, here.steps);
      }
    }
  });

  test('an abort ends an answer where it is, and leaves nothing under way', async () => {
    const controller = new AbortController();
    const answer = remote.generate({ prompts, maxTokens: 60, signal: controller.signal });
    for (let step = 0; step < 3; step++) await answer.next();
    controller.abort();
    const { finishReason, tokenIds } = await summaryOf(answer);
    expect(finishReason).toBe('aborted');
    expect(tokenIds.length).toBeLessThan(10);
  });
});
