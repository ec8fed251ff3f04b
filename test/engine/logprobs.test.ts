import { rmSync } from 'node:fs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import {
  type AnsweringModel,
  type GenerateRequest,
  loadModel,
  openModel,
  type Rule,
  ruleNamed,
  type SdaModel,
} from '../../src/index.js';
import { summaryOf } from '../support/answers.js';
import { golden } from '../support/checkpoints.js';
import { errorOf, useTensorFlow } from '../support/tensorflow.js';
import { tinyFolder } from '../support/tiny-tokenizer.js';
import { Vllm } from '../support/vllm-server.js';

useTensorFlow();

const { sda } = golden('tiny-llama');
const prompts = { baseIds: sda.base, instructedIds: sda.instructed };
const asked = { query: 'Hi', instruction: 'Be kind.' };

let dir: string;
let local: SdaModel;
let vllm: Vllm;
let remote: AnsweringModel;
beforeAll(async () => {
  dir = tinyFolder('tiny-llama');
  local = await loadModel(dir);
  vllm = await Vllm.start({ model: local, plugin: false, version: null });
  remote = await openModel(dir, { engine: { kind: 'logprobs', baseUrl: vllm.url } });
});
afterAll(async () => {
  remote.dispose();
  await vllm.close();
  local.dispose();
  rmSync(dir, { recursive: true, force: true });
});

async function idsOf(model: AnsweringModel, request: GenerateRequest<Rule>): Promise<number[]> {
  return (await summaryOf(model.generate(request))).tokenIds;
}

test.each<[string, GenerateRequest<Rule>]>([
  ['SDA, greedy', { prompts, settings: { greedy: true } }],
  ['SDA, seeded', { prompts, seed: 4, settings: { t0: 1.5, sigma: 1 } }],
  ['a rule of tfjs operations', { ...asked, rule: ruleNamed('coiecd') }],
  ['a rule that is a blend', { ...asked, rule: ruleNamed('cad'), seed: 2 }],
])('%s: the ids of this machine, from log-probabilities of a server', async (_, request) => {
  const whole = { maxTokens: 12, ...request };
  expect(await idsOf(remote, whole)).toEqual(await idsOf(local, whole));
});

test('log-probabilities and tokens in the form of llama.cpp', async () => {
  const tokenizer = await local.tokenizer();
  const tokenize = (text: string) => tokenizer.encode(text, { addSpecialTokens: false });
  const options = { model: local, plugin: false, version: null, llamaCpp: true, tokenize };
  const server = await Vllm.start(options);
  const engine = { kind: 'logprobs', baseUrl: server.url } as const;
  const model = await openModel(dir, { engine });
  expect(model.warnings).toEqual([]);
  const request = { ...asked, maxTokens: 12, seed: 4, settings: { t0: 1.5, sigma: 1 } };
  expect(await idsOf(model, request)).toEqual(await idsOf(local, request));
  server.options.tokenize = () => [];
  const { message } = await errorOf(() => openModel(dir, { engine }));
  expect(message).toMatch(/makes other tokens/);
  await server.close();
});

test('a server that gives some of them, and a rule that reads inside the model, are refused', async () => {
  const { message } = await errorOf(() => idsOf(remote, { ...asked, rule: ruleNamed('dola') }));
  expect(message).toMatch(/^The rule dola reads inside the model, which a server does not show/);
  const some = await Vllm.start({ model: local, plugin: false, most: 30 });
  const refused = await errorOf(() =>
    openModel(dir, { engine: { kind: 'logprobs', baseUrl: some.url } }),
  );
  await some.close();
  expect(refused.message).toMatch(/gives the log-probabilities of 30 of \d+ ids/);
});

test('a server that is away for a while is waited for, and one that stays away is told of', async () => {
  const request = { prompts, maxTokens: 8, seed: 3, settings: { t0: 1.5, sigma: 1 } };
  const away = async (ms: number, patienceS: number) => {
    const engine = { kind: 'logprobs', baseUrl: vllm.url, patienceS } as const;
    const model = await openModel(dir, { engine });
    const answer = model.generate(request);
    const ids: number[] = [];
    for (let step = await answer.next(); !step.done; step = await answer.next()) {
      if (ids.push(step.value.id) !== 3) continue;
      vllm.options.away = ms;
      vllm.leave();
    }
    return ids;
  };
  expect(await away(1200, 30)).toEqual(await idsOf(local, request));
  const { message } = await errorOf(() => away(60_000, 0.5));
  vllm.comeBack();
  expect(message).toMatch(/^The server at \S+ cannot be reached .*\.$/);
});
