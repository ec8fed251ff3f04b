import { readFileSync, writeFileSync } from 'node:fs';
import { afterEach, expect, test } from 'vitest';
import { readConfig } from '../../src/experiment/config.js';
import { runExperiment } from '../../src/experiment/pipeline.js';
import { loadModel, type SdaModel } from '../../src/generate/sda-model.js';
import { hasNativeKernel } from '../../src/runtime/native.js';
import { resultsOf, type TinyExperiment, tinyExperiment } from '../support/experiments.js';
import { errorOf, useTensorFlow } from '../support/tensorflow.js';
import { textsOf, Vllm, type VllmOptions } from '../support/vllm-server.js';

useTensorFlow();

let vllm: Vllm | undefined;
let model: SdaModel | undefined;
afterEach(async () => {
  await vllm?.close();
  model?.dispose();
});

/** The experiment with a server that plays vLLM as its engine. */
async function withEngine(
  experiment: TinyExperiment,
  options: Partial<VllmOptions> = {},
  more: object = {},
): Promise<string> {
  model = await loadModel(experiment.modelDir);
  vllm = await Vllm.start({ model, ...options });
  const config = JSON.parse(readFileSync(experiment.file, 'utf8')) as object;
  const file = experiment.file.replace('.json', '-vllm.json');
  const engine = { kind: 'vllm', base_url: vllm.url, patience_s: 0.5, ...more };
  writeFileSync(file, JSON.stringify({ ...config, engine }));
  return file;
}

async function run(file: string, { modelDir }: TinyExperiment, dir: string) {
  return runExperiment(await readConfig(file), {
    dir,
    defaultModel: modelDir,
    openModel: loadModel,
  });
}

/** The rows of each stage, by item: answers end in another order there. Without the native kernels texts alone are the same. */
function rowsOf(dir: string): Record<string, string[]> {
  const files = Object.entries(resultsOf(dir)).filter(([name]) => name.startsWith('rows'));
  return Object.fromEntries(
    files.map(([name, text]) => [name, text.split('\n').filter(Boolean).map(shown).sort()]),
  );
}

function shown(line: string): string {
  if (hasNativeKernel('SdaDecoderLayers')) return line;
  const { item, value } = JSON.parse(line) as { item: string; value?: { text?: string } };
  return JSON.stringify([item, value?.text]);
}

test('a run whose answers a vLLM server draws has the rows of this machine', async () => {
  const experiment = tinyExperiment({ methods: ['steering', 'sda'] });
  const file = await withEngine(experiment);
  const [here, there] = [experiment.newRun(), experiment.newRun()];
  await run(experiment.file, experiment, here);
  expect((await run(file, experiment, there)).complete).toBe(true);
  expect(rowsOf(there)).toEqual(rowsOf(here));
  expect(vllm!.seen.groups).toBeGreaterThan(10);
});

test('a configuration without a folder takes the texts of its server', async () => {
  const experiment = tinyExperiment({ methods: ['sda'] });
  const file = await withEngine(experiment);
  const written = JSON.parse(readFileSync(file, 'utf8')) as object;
  writeFileSync(file, JSON.stringify({ ...written, model: {} }));
  const [here, there] = [experiment.newRun(), experiment.newRun()];
  const nowhere = { ...experiment, modelDir: 'no-such-folder' };
  const { message } = await errorOf(() => run(file, nowhere, there));
  expect(message).toMatch(/does not offer config, tokenizer and chat template/);
  vllm!.options.texts = textsOf(experiment.modelDir);
  expect((await run(file, nowhere, there)).complete).toBe(true);
  await run(experiment.file, experiment, here);
  expect(rowsOf(there)).toEqual(rowsOf(here));
});

test('a run that loses its server keeps what it has, and goes on from there', async () => {
  const experiment = tinyExperiment();
  const file = await withEngine(experiment, { away: 3_600_000 }, { concurrency: 1 });
  const dir = experiment.newRun();
  let groups = 0;
  const seen = new Set<string>();
  vllm!.options.fate = (group) => {
    if (!seen.has(group)) groups += 1;
    seen.add(group);
    return groups > 9 ? 'down' : 'told';
  };
  const { message } = await errorOf(() => run(file, experiment, dir));
  expect(message).toMatch(/^The server at \S+ cannot be reached/);
  const kept = rowsOf(dir);
  vllm!.options.fate = () => 'told';
  vllm!.comeBack();
  const before = vllm!.seen.groups;
  expect((await run(file, experiment, dir)).complete).toBe(true);
  const whole = rowsOf(dir);
  for (const [name, rows] of Object.entries(kept)) {
    expect(whole[name]).toEqual(expect.arrayContaining(rows));
  }
  expect(vllm!.seen.groups - before).toBe(3 * 6 - 9); // three methods, six items, nine answers before
  const here = experiment.newRun();
  await run(experiment.file, experiment, here);
  expect(whole).toEqual(rowsOf(here));
});

test('what an engine cannot do is refused before anything is decoded', async () => {
  const experiment = tinyExperiment();
  const written = JSON.parse(readFileSync(experiment.file, 'utf8')) as { model: object };
  const said = async (changed: object) => {
    writeFileSync(experiment.file, JSON.stringify({ ...written, ...changed }));
    const run = async () =>
      runExperiment(await readConfig(experiment.file), {
        dir: experiment.newRun(),
        defaultModel: experiment.modelDir,
        openModel: loadModel,
      });
    return (await errorOf(run)).message;
  };
  const engine = { kind: 'vllm', base_url: 'http://127.0.0.1:9/v1' };
  expect(await said({ engine: { kind: 'vllm' } })).toMatch(/engine.*has a base_url/);
  expect(await said({ engine: { kind: 'local', base_url: 'http://x' } })).toMatch(/base_url/);
  expect(await said({ engine: { kind: 'ollama' } })).toMatch(/engine\.kind/);
  const adapters = ['somewhere'];
  expect(await said({ engine, model: { ...written.model, adapters } })).toMatch(
    /has adapters of the model, but its engine runs one model as the server has loaded it/,
  );
  expect(await said({ engine: { ...engine, patience_s: 0.2 } })).toMatch(/cannot be reached/);
});
