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
