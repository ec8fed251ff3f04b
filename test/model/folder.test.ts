import { renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { examineConfig, examineFolder, openFolder } from '../../src/model/folder.js';
import { loadDecoder } from '../../src/model/load-model.js';
import { buildFile } from '../checkpoint/build.js';
import { copyOf, editJson, temporaryFolder } from '../support/folders.js';

const messages = async (dir: string) => (await examineFolder(dir)).problems.map((p) => p.message);

describe('examineFolder', () => {
  it('finds every problem of config and weights, and loading says all of them', async () => {
    const dir = copyOf('tiny-llama');
    editJson(join(dir, 'config.json'), { hidden_act: 'gelu', num_key_value_heads: 3 });
    writeFileSync(join(dir, 'model.safetensors'), 'none');
    const found = await messages(dir);
    expect(found).toHaveLength(3);
    expect(found.join('\n')).toMatch(/gelu.*\n.*num_key_value_heads 3.*\n.*model\.safetensors/);
    const error: Error = await openFolder(dir).then(
      () => Promise.reject(new Error('it opens')),
      (thrown: Error) => thrown,
    );
    for (const message of found) expect(error.message).toContain(message.replace(/\.$/, ''));
    await expect(loadDecoder(dir)).rejects.toThrow(error.message);
  });

  it('of a sound folder gives what is loaded', async () => {
    const dir = copyOf('tiny-llama');
    writeFileSync(join(dir, 'adapter_model.safetensors'), buildFile('{}'));
    const { config, checkpoint, checked, warnings, problems } = await examineFolder(dir);
    await checkpoint?.close();
    expect(problems).toEqual([]);
    expect(warnings).toHaveLength(1);
    expect(warnings[0]).toContain('adapter_model.safetensors is an adapter beside the weights');
    expect([config?.modelType, checked?.specs.length]).toEqual(['llama', checkpoint?.tensors.size]);
  });

  it.each([
    ['consolidated.safetensors', "Mistral's own format"],
    ['pytorch_model.bin', 'files of PyTorch'],
    ['model.gguf', 'GGUF'],
    ['adapter_model.safetensors', 'an adapter'],
  ])('without config.json names the format of %s, and nothing else', async (name, format) => {
    const dir = temporaryFolder();
    writeFileSync(join(dir, name), buildFile('{}'));
    const found = await messages(dir);
    expect(found).toEqual([expect.stringContaining(format)]);
    expect(found[0]).toContain('npx sda import ');
    await expect(loadDecoder(dir)).rejects.toThrow(found[0]);
  });

  it.each([
    ['model.gguf', 'run "npx sda import '],
    ['weights.txt', 'give the folder that holds config.json'],
  ])('of the file %s says what to give', async (name, advice) => {
    const file = join(temporaryFolder(), name);
    writeFileSync(file, '');
    const found = await messages(file);
    expect(found).toEqual([expect.stringContaining(`${file} is a file where a model folder`)]);
    expect(found[0]).toContain(advice);
  });

  it('of an empty folder and of none', async () => {
    const dir = temporaryFolder();
    expect(await messages(dir)).toEqual([
      expect.stringContaining('config.json does not exist'),
      expect.stringContaining('has no weights'),
    ]);
    rmSync(dir, { recursive: true });
    expect(await messages(dir)).toEqual([expect.stringContaining(`${dir} does not exist`)]);
  });

  it('takes links for files, as the cache of huggingface_hub has them', async () => {
    const dir = copyOf('tiny-llama');
    renameSync(join(dir, 'config.json'), join(dir, 'blob'));
    symlinkSync('blob', join(dir, 'config.json'));
    expect(await messages(dir)).toEqual([]);
  });
});

it('a config.json alone is refused where it says that weights are quantised', async () => {
  const dir = copyOf('tiny-llama');
  const file = join(dir, 'config.json');
  expect((await examineConfig(file)).problems).toEqual([]);
  editJson(file, { quantization_config: { quant_method: 'hqq' } });
  const { config, problems } = await examineConfig(file);
  expect(config?.quantisation).toBe('hqq');
  expect(problems).toMatchObject([
    { code: 'unsupported', message: expect.stringContaining('quantised by hqq') },
  ]);
});
