import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { openCheckpoint } from '../../src/checkpoint/checkpoint.js';
import { buildFile, temporaryFolder } from './build.js';

const EMPTY = buildFile('{}');
const base = '{"peft_type":"LORA","base_model_name_or_path":"meta-llama/Llama-2-7b-hf"}';

describe('weights in another format', () => {
  it.each<[string, Record<string, string | Uint8Array>, RegExp]>([
    [
      'Mistral',
      { 'consolidated.safetensors': EMPTY, 'params.json': '{}' },
      /has its weights in Mistral's own format \(consolidated\.safetensors\) .*; run "npx sda import DIR --out DIR"\.$/,
    ],
    [
      'Mistral, in shards',
      {
        'consolidated-00001-of-00002.safetensors': EMPTY,
        'consolidated-00002-of-00002.safetensors': EMPTY,
      },
      /Mistral's own format \(consolidated-00001-of-00002\.safetensors, consol/,
    ],
    [
      'PyTorch',
      { 'pytorch_model.bin': '', 'training_args.bin': '' },
      /has its weights as files of PyTorch \(pytorch_model\.bin\) .*; run "npx sda import DIR --out DIR"\.$/,
    ],
    [
      'PyTorch, in shards',
      {
        'pytorch_model-00001-of-00002.bin': '',
        'pytorch_model-00002-of-00002.bin': '',
        'pytorch_model.bin.index.json': '{}',
      },
      /as files of PyTorch \(pytorch_model-00001-of-00002\.bin, pytorch_model-00002/,
    ],
    ['PyTorch, another name', { 'model.pt': '' }, /as files of PyTorch \(model\.pt\)/],
    [
      'GGUF',
      { 'a.gguf': '' },
      /as GGUF \(a\.gguf\) .*; run "npx sda import DIR\/a\.gguf --out DIR"\.$/,
    ],
    [
      'an adapter',
      { 'adapter_model.safetensors': EMPTY, 'adapter_config.json': base },
      /has an adapter of Llama-2-7b-hf \(adapter_model\.safetensors\) and no model .*; run "npx sda import BASE --adapter DIR --out DIR" with the folder of its base model as BASE\.$/,
    ],
    [
      'an adapter, pickled',
      { 'adapter_model.bin': '', 'adapter_config.json': '{' },
      /has an adapter \(adapter_model\.bin\) and no model/,
    ],
    ['others', { 'consolidated.00.pth': '' }, /weights as consolidated\.00\.pth .*; convert them/],
  ])('%s is named', async (_, files, message) => {
    const dir = await temporaryFolder(files);
    const error: Error = await openCheckpoint(dir).then(
      () => Promise.reject(new Error('it opens')),
      (thrown: Error) => thrown,
    );
    expect(error).toMatchObject({ code: 'unsupported' });
    expect(error.message.replaceAll(dir, 'DIR')).toMatch(message);
  });

  it('what a training leaves beside no weights is no model', async () => {
    const dir = await temporaryFolder({ 'training_args.bin': '', 'optimizer.pt': '' });
    await expect(openCheckpoint(dir)).rejects.toMatchObject({ code: 'file-missing' });
  });

  it.each<Record<string, string | Uint8Array>>([
    { 'consolidated.safetensors': 'no safetensors' },
    { 'pytorch_model.bin': '' },
    { 'a.gguf': '' },
  ])('%j beside weights is left alone', async (files) => {
    const dir = await temporaryFolder({ 'model.safetensors': EMPTY, ...files });
    expect((await openCheckpoint(dir)).warnings).toEqual([]);
  });

  it.each(['adapter_model.safetensors', 'adapter_model.bin'])(
    '%s beside weights is said not to be applied',
    async (name) => {
      const index = JSON.stringify({ weight_map: { a: 'm.safetensors' } });
      const entry = '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}';
      for (const weights of [
        { 'model.safetensors': EMPTY },
        { 'model.safetensors.index.json': index, 'm.safetensors': buildFile(entry, 4) },
      ]) {
        const dir = await temporaryFolder({ ...weights, [name]: EMPTY });
        expect((await openCheckpoint(dir)).warnings).toEqual([
          `${join(dir, name)} is an adapter beside the weights and is not applied; run "npx sda import ${dir} --adapter ${dir} --out DIR" to merge it.`,
        ]);
      }
    },
  );
});
