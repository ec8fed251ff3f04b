import { describe, expect, it, onTestFinished } from 'vitest';
import { openCheckpoint, type TensorInfo } from '../../src/checkpoint/checkpoint.js';
import { loadConfig, parseConfig } from '../../src/model/config.js';
import {
  type CheckTensorsOptions,
  checkTensors,
  EMBEDDING,
  expectedTensors,
  HEAD,
} from '../../src/model/families.js';
import { checkpointDir } from '../support/checkpoints.js';
import { BASE, PUBLISHED } from './configs.js';

const configOf = (fields: object) => parseConfig({ ...BASE, ...fields }, { file: 'config.json' });
const tensor = (name: string, shape: readonly number[], dtype = 'BF16'): TensorInfo => ({
  name,
  shape,
  dtype,
  file: 'm.safetensors',
  offset: 0,
  byteLength: 0,
});

/** The tensors that a config needs, changed: null takes one away. */
function tensorsFor(fields: object, changes: Readonly<Record<string, TensorInfo | null>> = {}) {
  const map = new Map(
    expectedTensors(configOf(fields)).map(({ name, shape }) => [name, tensor(name, shape)]),
  );
  for (const [name, change] of Object.entries(changes)) {
    if (change) map.set(name, change);
    else map.delete(name);
  }
  return map;
}
const check = (
  fields: object,
  changes: Readonly<Record<string, TensorInfo | null>> = {},
  options?: CheckTensorsOptions,
) => checkTensors(configOf(fields), tensorsFor(fields, changes), 'DIR', options);

describe('expectedTensors', () => {
  it.each(['tiny-llama'] as const)(
    'fits the checkpoint %s that transformers wrote',
    async (name) => {
      const dir = checkpointDir(name);
      const checkpoint = await openCheckpoint(dir);
      onTestFinished(() => checkpoint.close());
      const config = await loadConfig(dir);
      const { specs, warnings } = checkTensors(config, checkpoint.tensors, dir);
      expect(warnings).toEqual([]);
      expect(new Set(specs.map((spec) => spec.name))).toEqual(new Set(checkpoint.tensors.keys()));
    },
  );

  it.each([
    ['Llama-2-7b-chat', 6_738_415_616],
    ['Llama-3.1-8B-Instruct', 8_030_261_248],
    ['Mistral-Nemo-Instruct-2407', 12_247_782_400],
    ['DeepSeek-R1-Distill-Qwen-7B', 7_615_616_512],
    ['Qwen3-0.6B', 596_049_920],
  ] as const)('%s has its published number of parameters', (name, parameters) => {
    const config = parseConfig(PUBLISHED[name], { file: 'config.json' });
    const counted = expectedTensors(config)
      .filter(({ role }) => !(role === 'head' && config.tieWordEmbeddings))
      .reduce((sum, { shape }) => sum + shape.reduce((product, size) => product * size, 1), 0);
    expect(counted).toBe(parameters);
  });
});

describe('checkTensors', () => {
  it('lists every problem in one message', () => {
    const run = () =>
      check(
        {},
        {
          'model.norm.weight': null,
          'model.layers.1.mlp.up_proj.weight': tensor(
            'model.layers.1.mlp.up_proj.weight',
            [64, 96],
          ),
          'model.layers.2.self_attn.q_proj.weight': tensor(
            'model.layers.2.self_attn.q_proj.weight',
            [64, 64],
            'F64',
          ),
        },
      );
    expect(run).toThrow('DIR do not fit its config.json in 3 tensors');
    expect(run).toThrow('model.norm.weight [64] is missing');
    expect(run).toThrow(
      'model.layers.1.mlp.up_proj.weight is [64, 96] in m.safetensors where [96, 64] is expected',
    );
    expect(run).toThrow(
      'model.layers.2.self_attn.q_proj.weight is F64 in m.safetensors where F32, F16, BF16',
    );
    expect(run).toThrow(expect.objectContaining({ code: 'bad-tensor' }));
  });

  it('counts what it does not list', () => {
    const gone = Object.fromEntries(
      [0, 1, 2].flatMap((layer) =>
        ['q', 'k', 'v'].map((name) => [
          `model.layers.${layer}.self_attn.${name}_proj.weight`,
          null,
        ]),
      ),
    );
    expect(() => check({}, gone)).toThrow(/in 9 tensors: .* and 4 more; /);
  });

  it('needs the biases of qwen2 and the norms of qwen3', () => {
    expect(() =>
      check({ model_type: 'qwen2' }, { 'model.layers.0.self_attn.k_proj.bias': null }),
    ).toThrow('k_proj.bias [64] is missing');
    expect(() =>
      check({ model_type: 'qwen3' }, { 'model.layers.2.self_attn.q_norm.weight': null }),
    ).toThrow('q_norm.weight [128] is missing');
  });

  it('does not drop biases that the config does not use', () => {
    const name = 'model.layers.0.self_attn.q_proj.bias';
    expect(() => check({}, { [name]: tensor(name, [64]) })).toThrow('set attention_bias');
  });

  it('ignores inv_freq silently and other extra tensors with a warning', () => {
    const inverse = 'model.layers.0.self_attn.rotary_emb.inv_freq';
    const result = check(
      {},
      { [inverse]: tensor(inverse, [8], 'F32'), 'score.weight': tensor('score.weight', [1]) },
    );
    expect(result.warnings).toEqual(['DIR holds 1 tensors that are ignored: score.weight.']);
    expect(result.specs.some(({ name }) => name === inverse || name === 'score.weight')).toBe(
      false,
    );
  });

  it.each([
    ['untied, both there', false, {}, {}, EMBEDDING, HEAD, 0],
    ['tied, only the embedding', true, { [HEAD]: null }, {}, EMBEDDING, EMBEDDING, 0],
    ['tied, only the head', true, { [EMBEDDING]: null }, {}, HEAD, HEAD, 0],
    ['tied, both there', true, {}, {}, EMBEDDING, HEAD, 1],
    [
      'untied, no head, asked to tie',
      false,
      { [HEAD]: null },
      { tieMissingHead: true },
      EMBEDDING,
      EMBEDDING,
      1,
    ],
    ['untied, both there, asked to tie', false, {}, { tieMissingHead: true }, EMBEDDING, HEAD, 0],
  ])('%s', (_, tied, changes, options, embedding, head, warnings) => {
    const result = check({ tie_word_embeddings: tied }, changes, options);
    expect(result).toMatchObject({ embedding, head });
    expect(result.warnings).toHaveLength(warnings);
    expect(result.specs.map(({ name }) => name)).toEqual(expect.arrayContaining([embedding, head]));
    expect(new Set(result.specs.map(({ name }) => name)).size).toBe(result.specs.length);
  });

  it('refuses an untied checkpoint without head or embedding', () => {
    expect(() => check({}, { [HEAD]: null })).toThrow(
      'lm_head.weight [100, 64] is missing and config.json does not say tie',
    );
    expect(() => check({}, { [EMBEDDING]: null })).toThrow('embed_tokens');
    expect(() => check({ tie_word_embeddings: true }, { [EMBEDDING]: null, [HEAD]: null })).toThrow(
      'embed_tokens',
    );
  });

  it.each([
    ['model.layers.0.self_attn.q_proj.weight', 'F8_E4M3'],
    ['model.layers.0.self_attn.q_proj.weight', 'I8'],
    ['model.layers.0.self_attn.q_proj.weight', 'U8'],
    ['model.layers.0.self_attn.q_proj.qweight', 'I32'],
    ['model.layers.0.self_attn.q_proj.weight_scale', 'F32'],
    ['model.layers.0.self_attn.q_proj.weight.absmax', 'F32'],
  ])('refuses the quantised %s, %s', (name, dtype) => {
    const run = () => check({}, { [name]: tensor(name, [64, 64], dtype) });
    expect(run).toThrow(expect.objectContaining({ code: 'unsupported' }));
    expect(run).toThrow(name);
  });
});
