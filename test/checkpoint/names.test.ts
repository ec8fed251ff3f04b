import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { openCheckpoint } from '../../src/checkpoint/checkpoint.js';
import { transformersNames } from '../../src/checkpoint/names.js';
import type { TensorInfo } from '../../src/checkpoint/safetensors.js';
import { loadDecoder } from '../../src/model/load-model.js';
import { checkpointDir, golden } from '../support/checkpoints.js';
import { copyOf } from '../support/folders.js';
import { rewriteTensors } from '../support/safetensors.js';
import { expectSteps, stepsAlone } from '../support/steps.js';
import { useTensorFlow } from '../support/tensorflow.js';
import { TOLERANCE } from '../support/tolerances.js';

useTensorFlow();

const own = [...(await openCheckpoint(checkpointDir('tiny-qwen3'))).tensors.keys()];
const renamed = (names: readonly string[]) => {
  const info = (name: string): TensorInfo => ({
    ...{ name, dtype: 'F32', shape: [1], file: 'F', offset: 0, byteLength: 4 },
  });
  const { tensors, warnings } = transformersNames(
    new Map(names.map((name) => [name, info(name)])),
    'DIR',
  );
  return {
    names: [...tensors.keys()],
    stored: [...tensors.values()].map(({ name }) => name),
    warnings,
  };
};

const FORMS: readonly (readonly [string, (name: string) => string])[] = [
  ['torch.compile', (name) => `_orig_mod.${name}`],
  ['DataParallel', (name) => `module.${name}`],
  ['torch.compile inside DataParallel', (name) => `module._orig_mod.${name}`],
  ['an adapter library', (name) => `base_model.model.${name}`],
  ['a module called model', (name) => `model.${name}`],
  [
    'FSDP',
    (name) => name.replace(/(layers\.\d+\.)/, '_fsdp_wrapped_module.$1_fsdp_wrapped_module.'),
  ],
  [
    'checkpointed layers',
    (name) => name.replace(/(layers\.\d+\.)/, '$1_checkpoint_wrapped_module.'),
  ],
  ['compiled layers', (name) => name.replace(/(layers\.\d+\.)/, '$1_orig_mod.')],
  ['DeepSpeed', (name) => `_forward_module.module.${name}`],
  ['the decoder alone', (name) => name.replace(/^model\./, '')],
  ['the decoder alone, wrapped', (name) => `module.${name.replace(/^model\./, '')}`],
];

describe('names of another form', () => {
  it.each(FORMS)('%s', (_, form) => {
    const names = own.map(form);
    const result = renamed(names);
    expect(result.names).toEqual(own);
    expect(result.stored).toEqual(names);
    const first = names.findIndex((name, i) => name !== own[i]);
    expect(result.warnings).toEqual([
      `The tensors in DIR have names of another form: ${names[first]} is taken as ${own[first]}, and so are the others.`,
    ]);
  });

  it.each<[string, readonly string[]]>([
    ['those of transformers', own],
    ['a part with the prefix', own.map((name, i) => (i % 2 === 0 ? `module.${name}` : name))],
    ['two that would fall together', [...own, ...own.map((name) => `_orig_mod.${name}`)]],
    ['no layers', ['a', 'module.b', 'model.norm.weight']],
    ['none', []],
  ])('%s stay as they are', (_, names) => {
    expect(renamed(names)).toEqual({ names, stored: names, warnings: [] });
  });

  it.each(FORMS)('%s has the logits of transformers', async (_, form) => {
    const dir = copyOf('tiny-qwen3');
    await rewriteTensors(dir, (tensor) => ({ ...tensor, name: form(tensor.name) }));
    const { prompt, ids, logits } = golden('tiny-qwen3').greedy;
    const model = await loadDecoder(dir);
    expect(model.warnings).toHaveLength(1);
    expect(model.warnings[0]).toContain(dir);
    expectSteps(stepsAlone(model, prompt, ids), logits, TOLERANCE.logits);
    model.dispose();
  });

  it('what is missing is named as the model needs it', async () => {
    const dir = copyOf('tiny-qwen3');
    await rewriteTensors(dir, (tensor) =>
      tensor.name.includes('norm.weight') && !tensor.name.includes('layers')
        ? []
        : { ...tensor, name: `module.${tensor.name}` },
    );
    await expect(loadDecoder(dir)).rejects.toThrow('model.norm.weight [48] is missing');
    expect((await openCheckpoint(join(dir))).tensors.has('lm_head.weight')).toBe(true);
  });
});
