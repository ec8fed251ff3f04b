import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { loadModel, type SdaModel } from '../../src/index.js';
import { hasNativeKernel } from '../../src/runtime/native.js';
import { golden } from '../support/checkpoints.js';
import { sda } from '../support/cli.js';
import { copyOf, temporaryFolder } from '../support/folders.js';
import { useTensorFlow } from '../support/tensorflow.js';
import { addTokenizer, TINY_TEMPLATE } from '../support/tiny-tokenizer.js';
import { textsOf, Vllm, type VllmOptions } from '../support/vllm-server.js';

useTensorFlow();

const { base, instructed } = golden('tiny-llama').sda;
const ids = ['--base-ids', base.join(' '), '--instructed-ids', instructed.join(' ')];

let model: SdaModel | undefined;
let vllm: Vllm | undefined;
afterEach(async () => {
  await vllm?.close();
  model?.dispose();
});

async function served(options: Partial<VllmOptions> = {}): Promise<{ dir: string; url: string }> {
  const dir = copyOf('tiny-llama');
  model = await loadModel(dir);
  vllm = await Vllm.start({ model, ...options });
  return { dir, url: vllm.url };
}

interface Printed {
  readonly token_ids: number[];
  readonly steps: object[];
  readonly settings: object;
  readonly timing: object;
}

describe('sda generate --engine', () => {
  test('prints and traces what the model does here', async () => {
    const { dir, url } = await served();
    const trace = join(temporaryFolder(), 'trace.jsonl');
    const options = ['--model', dir, ...ids, '--max-tokens', '12', '--t0', '1.5', '--json'];
    const here = await sda(['generate', ...options]);
    const there = await sda(['generate', ...options, '--engine', url, '--trace', trace]);
    expect(there.stderr).toBe('');
    const [expected, found] = [here, there].map(({ stdout }) => JSON.parse(stdout) as Printed);
    expect(found!.token_ids).toEqual(expected!.token_ids);
    expect(found!.settings).toEqual(expected!.settings);
    expect(Object.keys(found!)).toEqual(Object.keys(expected!));
    if (hasNativeKernel('SdaDecoderLayers')) expect(found!.steps).toEqual(expected!.steps);
    const [header, ...steps] = readFileSync(trace, 'utf8').trim().split('\n');
    expect(JSON.parse(header!)).toMatchObject({ engine: `vLLM 0.32.0 at ${url}, model m` });
    expect(steps).toHaveLength(found!.token_ids.length);
  });

  test('takes texts from the server where no folder is given', async () => {
    const dir = copyOf('tiny-llama');
    addTokenizer(dir, TINY_TEMPLATE);
    model = await loadModel(dir);
    vllm = await Vllm.start({ model, texts: textsOf(dir) });
    const asked = ['generate', '--query', 'Hi', '--instruction', 'Be.', '--max-tokens', '9'];
    const options = [...asked, '--t0', '3', '--sigma', '1', '--stop', 'e', '--json'];
    const here = JSON.parse((await sda([...options, '--model', dir])).stdout) as Printed;
    const there = JSON.parse((await sda([...options, '--engine', vllm.url])).stdout) as Printed;
    const without = ({ timing: _, ...rest }: Printed) => ({ ...rest, chat_template: '', steps: 0 });
    expect(without(there)).toEqual(without(here));
    vllm.options.texts = null;
    const { code, stdout, stderr } = await sda([...options, '--engine', vllm.url]);
    expect(stderr).toMatch(/does not offer config, tokenizer and chat template .* with --model/);
    expect([code, stdout]).toEqual([1, '']);
  });

  test.each([
    [
      ['--engine', 'localhost:8000'],
      2,
      /Expected an address such as http:\/\/127\.0\.0\.1:8000\/v1/,
    ],
    [
      ['--engine', 'http://127.0.0.1:9', '--dtype', 'int8'],
      2,
      /--dtype is for a model that is loaded here/,
    ],
    [['--engine-model', 'm'], 2, /need a server: give --engine/],
    [['--engine', 'http://127.0.0.1:9'], 1, /cannot be reached/],
  ])('%j is refused', async (options, code, words) => {
    const dir = copyOf('tiny-llama');
    const result = await sda(['generate', '--model', dir, ...ids, ...options]);
    expect(result.stderr).toMatch(words);
    expect(result.stderr).not.toContain('    at ');
    expect([result.code, result.stdout]).toEqual([code, '']);
  });
});

describe('sda doctor --engine', () => {
  test('says what the server is', async () => {
    const { url } = await served();
    const { code, stdout } = await sda(['doctor', '--engine', url]);
    expect(stdout).toMatch(/vLLM +0\.32\.0\n/);
    expect(stdout).toMatch(/model +m, context 128 tokens\n/);
    expect(stdout).toMatch(/ranks +1 tensor, 1 pipeline\n/);
    expect(stdout).toMatch(/at once +8 streams, 4 answers of SDA\n/);
    expect(stdout).toMatch(/texts +not offered \(VLLM_PLUGINS=sda\): give --model\n/);
    expect(code).toBe(0);
  });

  test('and what it lacks', async () => {
    const { url } = await served({ plugin: false });
    const { code, stdout } = await sda(['doctor', '--engine', url]);
    expect(stdout).toMatch(/sda-vllm +no answer\n/);
    expect(stdout).toMatch(/runs without sda-vllm/);
    expect(stdout).toContain('--logits-processors sda_vllm.processor:SdaLogitsProcessor');
    expect(code).toBe(1);
    const nothing = await sda(['doctor', '--engine', 'http://127.0.0.1:9/v1', '--json']);
    expect(JSON.parse(nothing.stdout)).toMatchObject({ vllm: null, model: null, plugin: null });
    expect(nothing.code).toBe(1);
  });
});
