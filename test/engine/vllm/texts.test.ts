import { readdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type GenerateRequest, loadModel, openModel, type SdaModel } from '../../../src/index.js';
import { errorOf, useTensorFlow } from '../../support/tensorflow.js';
import { tinyFolder } from '../../support/tiny-tokenizer.js';
import { textsOf, Vllm, type VllmOptions } from '../../support/vllm-server.js';

useTensorFlow();

let dir: string;
let local: SdaModel;
beforeAll(async () => {
  dir = tinyFolder('tiny-llama');
  local = await loadModel(dir);
});
afterAll(() => local.dispose());

async function withServer<T>(
  options: Partial<VllmOptions>,
  use: (url: string, vllm: Vllm) => Promise<T>,
): Promise<T> {
  const tokenizer = await local.tokenizer();
  const tokenize = (text: string) => tokenizer.encode(text, { addSpecialTokens: false });
  const vllm = await Vllm.start({ model: local, tokenize, ...options });
  try {
    return await use(vllm.url, vllm);
  } finally {
    await vllm.close();
  }
}

/** The texts of each step and the summary, without what depends on clocks. */
async function answered(model: Awaited<ReturnType<typeof openModel>>, request: GenerateRequest) {
  const texts: string[] = [];
  const answer = model.generate(request);
  for (;;) {
    const { value, done } = await answer.next();
    if (!done) texts.push(value.text);
    else {
      const { timing: _, ...summary } = value;
      return { texts, ...summary };
    }
  }
}

const REQUESTS: GenerateRequest[] = [
  { query: 'Hello', instruction: 'Be kind.', seed: 9, settings: { t0: 3, sigma: 1 } },
  { query: 'Hi', instruction: 'Be.', seed: 2, stop: ['a', 'e'], settings: { t0: 5, sigma: 9 } },
  { query: 'A <|bot|> in the text', instruction: 'Be.', seed: 3, settings: { greedy: true } },
  {
    messages: [
      { role: 'user', content: 'One?' },
      { role: 'assistant', content: 'Two.' },
      { role: 'user', content: 'Three?' },
    ],
    instruction: 'Be brief.',
    settings: { greedy: true },
  },
];

test.each(['vllm', 'logprobs'] as const)(
  'without a folder, texts of the server: prompts, pieces and stops are those of this machine (%s)',
  async (kind) => {
    const texts = textsOf(dir);
    await withServer({ texts, plugin: kind === 'vllm' }, async (baseUrl) => {
      const model = await openModel(null, { engine: { kind, baseUrl } });
      expect(model.warnings).toEqual([]);
      for (const request of REQUESTS) {
        const asked = { maxTokens: 10, ...request };
        expect(await answered(model, asked)).toEqual(await answered(local, asked));
      }
      model.dispose();
    });
  },
);

test('the folder has what was offered, and is made once', async () => {
  const texts: Record<string, string> = { ...textsOf(dir), '../out.txt': 'x', 'weights.bin': 'x' };
  await withServer({ texts, names: ['of/a: model'] }, async (baseUrl) => {
    const engine = { kind: 'vllm', baseUrl } as const;
    const [first, second] = [await openModel(null, { engine }), await openModel(null, { engine })];
    expect(basename(first.dir)).toMatch(/^a__model-[0-9a-f]{20}$/);
    expect(second.dir).toBe(first.dir);
    const names = [
      'config.json',
      'generation_config.json',
      'tokenizer.json',
      'tokenizer_config.json',
    ];
    expect(readdirSync(first.dir).sort()).toEqual(['complete.json', ...names].sort());
    for (const name of names) {
      expect(readFileSync(join(first.dir, name), 'utf8')).toBe(texts[name]);
    }
    expect(readdirSync(join(first.dir, '..'))).not.toContain('out.txt');
  });
});

/** What is said of a server that offers these, where no folder is given. */
async function said(options: Partial<VllmOptions>, kind: 'vllm' | 'logprobs' = 'vllm') {
  return withServer(options, async (baseUrl) => {
    const { message } = await errorOf(() => openModel(null, { engine: { kind, baseUrl } }));
    expect(message).toMatch(/^[A-Z].*\.$/s);
    expect(message.split('. ').length).toBe(1); // one sentence
    return message.replaceAll(baseUrl, 'URL');
  });
}

test('a server that offers none, or too little, or those of another model', async () => {
  const none =
    /^The server at URL does not offer config, tokenizer and chat template of its model \(it has no URL\/sda\/texts\): give a folder of that model with --model/;
  expect(await said({})).toMatch(none);
  expect(await said({ plugin: false }, 'logprobs')).toMatch(none);
  const texts = textsOf(dir);
  const { 'tokenizer.json': _, ...fewer } = texts;
  expect(await said({ texts: fewer })).toMatch(
    /^The server at URL has no tokenizer\.json of the model m to offer: give a folder/,
  );
  expect(await said({ texts: {} })).toMatch(/^The server at URL has no config\.json/);
  expect(await said({ texts, vocabSize: 7 })).toMatch(/^The model m at URL has 7 ids/);
  expect(await said({ texts, tokenize: () => [1, 2] })).toMatch(
    /^The model m at URL makes other tokens/,
  );
  expect(await said({ texts, plugin: false })).toMatch(/runs without sda-vllm/);
  expect(await said({ texts, version: null })).toMatch(/^The server at URL is no vLLM/);
  expect(await said({ texts, key: 'k' })).toMatch(/^The server at URL answered 401/);
  const { message } = await errorOf(() => openModel(null));
  expect(message).toMatch(/^A model on this machine needs its folder/);
});
