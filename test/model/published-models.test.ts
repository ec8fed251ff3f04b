import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parseJson } from '../../src/checkpoint/json-file.js';
import {
  loadConfig,
  loadConfigFile,
  type ModelConfig,
  parseConfig,
} from '../../src/model/config.js';
import { kvBytesPerToken } from '../../src/model/kv-cache.js';
import { type LoadedDecoder, loadDecoder } from '../../src/model/load-model.js';
import { parameterCount, planMemory, weightBytes } from '../../src/model/memory-plan.js';
import { packageRoot } from '../../src/runtime/paths.js';
import type { Golden } from '../support/checkpoints.js';
import { expectSteps, stepsAlone } from '../support/steps.js';
import { expectNoLeak, useTensorFlow } from '../support/tensorflow.js';
import { TOLERANCE } from '../support/tolerances.js';
import { OTHER_FAMILIES } from './configs.js';

useTensorFlow();

const FOLDER = fileURLToPath(new URL('../fixtures/models', import.meta.url));

/** Parameters as published with the models, and their key-value bytes a token and stream in float32. */
const PUBLISHED = {
  'Llama-2-7b-chat-hf': [6_738_415_616, 2 * 32 * 4096 * 4],
  'Llama-2-13b-chat-hf': [13_015_864_320, 2 * 40 * 5120 * 4],
  'Llama-2-70b-chat-hf': [68_976_648_192, 2 * 80 * 1024 * 4],
  'vicuna-7b-v1.5': [6_738_415_616, 2 * 32 * 4096 * 4],
  'vicuna-13b-v1.5': [13_015_864_320, 2 * 40 * 5120 * 4],
  'DeepSeek-R1-Distill-Qwen-7B': [7_615_616_512, 2 * 28 * 512 * 4],
  'DeepSeek-R1-Distill-Qwen-14B': [14_770_033_664, 2 * 48 * 1024 * 4],
  'DeepSeek-R1-Distill-Qwen-32B': [32_763_876_352, 2 * 64 * 1024 * 4],
  'Llama-3.1-8B-Instruct': [8_030_261_248, 2 * 32 * 1024 * 4],
  'Qwen3-8B': [8_190_735_360, 2 * 36 * 1024 * 4],
  'Mistral-7B-Instruct-v0.3': [7_248_023_552, 2 * 32 * 1024 * 4],
  'Llama-3.2-1B': [1_235_814_400, 2 * 16 * 512 * 4],
  'Qwen2.5-7B-Instruct': [7_615_616_512, 2 * 28 * 512 * 4],
  'TinyLlama-1.1B-Chat-v1.0': [1_100_048_384, 2 * 22 * 256 * 4],
} as const;
type Name = keyof typeof PUBLISHED;
const NAMES = Object.keys(PUBLISHED) as Name[];

const configOf = (name: Name) => loadConfigFile(join(FOLDER, `${name}.json`));

/** Models with the architecture of another one, whose shrunken checkpoint stands for both. */
const LIKE: Partial<Record<Name, Name>> = {
  'vicuna-7b-v1.5': 'Llama-2-7b-chat-hf',
  'vicuna-13b-v1.5': 'Llama-2-13b-chat-hf',
  'Qwen2.5-7B-Instruct': 'DeepSeek-R1-Distill-Qwen-7B', // but for rope_theta, which the 14B and 32B have
};
const shrunkenDir = (name: Name) => join(FOLDER, 'shrunken', LIKE[name] ?? name);
const SHRUNKEN = NAMES.filter((name) => LIKE[name] === undefined);

/** What shrinking must not change; the MLP's ratio is rounded to a whole width. */
function traitsOf(config: ModelConfig) {
  const { modelType, rmsNormEps, tieWordEmbeddings, attentionBias, qkNorm, rope } = config;
  return {
    traits: { modelType, rmsNormEps, tieWordEmbeddings, attentionBias, qkNorm },
    queriesPerKey: config.numHeads / config.numKeyValueHeads,
    rope,
  };
}

it('has every config of the folder in the table', () => {
  const files = readdirSync(FOLDER).filter((file) => file.endsWith('.json'));
  expect(files.map((file) => file.slice(0, -5)).sort()).toEqual([...NAMES].sort());
});

describe.each(NAMES)('%s', (name) => {
  it('has the published number of parameters and its key-value bytes', async () => {
    const config = await configOf(name);
    expect([parameterCount(config), kvBytesPerToken(config)]).toEqual(PUBLISHED[name]);
  });

  it('has a shrunken checkpoint with its proportions and traits', async () => {
    const [full, small] = [await configOf(name), await loadConfig(shrunkenDir(name))];
    const { rope, ...traits } = traitsOf(full);
    expect(traitsOf(small)).toMatchObject(traits);
    if (name !== 'Qwen2.5-7B-Instruct') expect(small.rope).toEqual(rope);
    const width = (full.intermediateSize / full.hiddenSize) * small.hiddenSize;
    expect(Math.abs(small.intermediateSize - width)).toBeLessThanOrEqual(0.5);
  });
});

describe.each(SHRUNKEN)('%s, shrunken', (name) => {
  let model: LoadedDecoder;
  beforeAll(async () => {
    model = await loadDecoder(shrunkenDir(name));
  });
  afterAll(() => model.dispose());

  it('has the logits of transformers in prefill and 16 cached steps', async () => {
    const file = join(shrunkenDir(name), 'golden.json');
    const { greedy } = parseJson(readFileSync(file, 'utf8'), file, 'bad-file') as Golden;
    expect(greedy.ids).toHaveLength(16);
    const { prompt, ids, logits } = greedy;
    expectSteps(await expectNoLeak(() => stepsAlone(model, prompt, ids)), logits, TOLERANCE.logits);
  });
});

/** The eight models of the paper. */
const PAPER = NAMES.slice(0, 8);
const MEMORIES = [16, 24, 32, 48, 64, 80, 96, 128, 160, 192, 256];
const BANDWIDTHS = [25, 50, 200, 1000, 3350];
const CONTEXT = 4096;

function row(name: string, config: ModelConfig): string {
  const weights = weightBytes(config, 2);
  const { total } = planMemory(config, { weights, available: 0, context: CONTEXT });
  const machine = MEMORIES.find((size) => total <= size * 1e9);
  const gb = (bytes: number) => `${(bytes / 1e9).toFixed(1)} GB`;
  return [
    name,
    (parameterCount(config) / 1e9).toFixed(2),
    gb(weights),
    `${((2 * kvBytesPerToken(config)) / 1e6).toFixed(2)} MB`,
    gb(total),
    `${machine} GB`,
    ...BANDWIDTHS.map((bandwidth) =>
      (weights / bandwidth / 1e6).toFixed(weights > bandwidth * 1e8 ? 0 : 1),
    ),
  ].join(' | ');
}

it('weights/MODELS.md says what the configs say (vitest -u writes it)', async () => {
  const rows = await Promise.all(
    PAPER.map(async (name) => `| ${row(name, await configOf(name))} |`),
  );
  const others = Object.entries(OTHER_FAMILIES).map(
    ([name, { config }]) => `| ${row(name, parseConfig(config, { file: name }))} |`,
  );
  const head = [
    'model',
    'parameters, billions',
    'weights, bf16',
    'KV a token, two streams',
    `memory at ${CONTEXT} tokens`,
    'fits into',
    ...BANDWIDTHS.map((bandwidth) => `ms at ${bandwidth} GB/s`),
  ];
  const text = `# The models of the paper, on paper

From their config.json (\`test/fixtures/models\`), by the plan that loading checks (\`src/model/memory-plan.ts\`); a test
keeps this file and the code the same. \`npx sda inspect --config FILE\` gives the same for any config.

| ${head.join(' | ')} |
| ${head.map(() => '---').join(' | ')} |
${rows.join('\n')}

And one or two of each other family, by the sizes in their config.json (\`test/model/configs.ts\`):

| ${head.join(' | ')} |
| ${head.map(() => '---').join(' | ')} |
${others.join('\n')}

Weights count every matrix once, in 2 bytes. Keys and values are kept in float32, for both streams. Memory is weights,
keys and values of both streams at ${CONTEXT} tokens, and an estimate of what a prefill and TensorFlow itself take.
"ms" is about the least time of a token: weight bytes over the bandwidth at which the machine reads memory (a laptop or
small server 25 to 50 GB/s, a large server 200 and more, GPUs 1,000 to 3,350). Keys and values come on top, context x the
figure of the fourth column; the embedding, of which a token reads only its own row, is counted (0.4 to 7% of the bytes).
SDA reads the weights once for both streams, two separate passes read them twice.

"Fits into" is the smallest of the usual memory sizes that is large enough, if nothing else takes any of it.

None of these has been run here at full size. Each architecture of the paper was run shrunken, with random weights, the
same tensor names and the same proportions (Vicuna is the architecture of Llama 2), and has the logits of transformers
(\`test/model/published-models.test.ts\`); each other family as a tiny checkpoint (\`test/model/decoder.test.ts\`).
`;
  await expect(text).toMatchFileSnapshot(join(packageRoot(), 'weights', 'MODELS.md'));
});
