import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { TensorInfo } from '../../src/checkpoint/checkpoint.js';
import { loadDecoder } from '../../src/model/load-model.js';
import { checkPlain } from '../../src/model/quantised.js';
import { golden } from '../support/checkpoints.js';
import { copyOf, editJson } from '../support/folders.js';
import { expectSteps, stepsAlone } from '../support/steps.js';
import { useTensorFlow } from '../support/tensorflow.js';
import { TOLERANCE } from '../support/tolerances.js';

useTensorFlow();

const Q = 'model.layers.0.self_attn.q_proj';

/** Tensors of one linear layer with 64 inputs and 32 outputs. */
function layer(parts: Readonly<Record<string, readonly [string, readonly number[]]>>) {
  return new Map(
    Object.entries(parts).map(([part, [dtype, shape]]): [string, TensorInfo] => {
      const name = `${Q}.${part}`;
      return [name, { name, dtype, shape, file: 'F', offset: 0, byteLength: 0 }];
    }),
  );
}

describe('quantised weights are named', () => {
  it.each([
    ['GPTQ', { qweight: ['I32', [8, 32]], qzeros: ['I32', [1, 4]], scales: ['F16', [1, 32]] }],
    [
      'GPTQ',
      {
        qweight: ['I32', [8, 32]],
        qzeros: ['I32', [1, 4]],
        scales: ['F16', [1, 32]],
        g_idx: ['I32', [64]],
      },
    ],
    ['AWQ', { qweight: ['I32', [64, 4]], qzeros: ['I32', [1, 4]], scales: ['F16', [1, 32]] }],
    ['FP8', { weight: ['F8_E4M3', [32, 64]], weight_scale: ['F32', [1]] }],
    ['FP8 in blocks', { weight: ['F8_E4M3', [32, 64]], weight_scale_inv: ['F32', [1, 1]] }],
    ['EXL2', { q_weight: ['I32', [8, 32]], q_scale: ['I32', [1, 4]], q_groups: ['I16', [2]] }],
    ['EXL3', { trellis: ['I16', [4, 2, 64]], suh: ['F16', [64]], svh: ['F16', [32]] }],
    ['HQQ', { W_q: ['U8', [16, 64]], scale: ['F16', [64, 1]], zero: ['F16', [64, 1]] }],
    ['compressed-tensors', { weight_packed: ['I32', [32, 8]], weight_scale: ['BF16', [32, 1]] }],
    [
      'bitsandbytes in 4 bits',
      {
        weight: ['U8', [1024, 1]],
        'weight.absmax': ['F32', [32]],
        'weight.quant_state.bitsandbytes__nf4': ['U8', [90]],
      },
    ],
    ['bitsandbytes in 8 bits', { weight: ['I8', [32, 64]], SCB: ['F32', [32]] }],
    ['MLX', { weight: ['U32', [32, 8]], scales: ['F16', [32, 1]], biases: ['F16', [32, 1]] }],
    ['AQLM', { codes: ['I8', [4, 8, 1]], codebooks: ['F16', [1, 256, 1, 8]] }],
    ['QuIP#', { Qidxs: ['I64', [32, 8]], SU: ['F16', [64]] }],
    ['Quanto', { 'weight._data': ['I8', [32, 64]], 'weight._scale': ['F16', [32, 1]] }],
  ] as const)('%s', (format, parts) => {
    expect(() => checkPlain(layer(parts), 'DIR', null)).toThrow(
      `DIR holds weights that are quantised (${format}), such as ${Q}.`,
    );
    // what the tensors say counts, whatever config.json says
    expect(() => checkPlain(layer(parts), 'DIR', 'other')).toThrow(`(${format})`);
    expect(() => checkPlain(layer(parts), 'DIR', null)).toThrow(
      expect.objectContaining({ code: 'unsupported' }),
    );
  });

  it.each(['U32', 'I32', 'U8', 'I8', 'I64'])('packed in %s by an unknown method', (dtype) => {
    const tensors = layer({ weight: [dtype, [32, 8]] });
    expect(() => checkPlain(tensors, 'DIR', null)).toThrow(
      `DIR holds weights that are quantised, such as ${Q}.weight, ${dtype}, in F, where F32, F16, BF16 are supported; take the unquantised checkpoint.`,
    );
    expect(() => checkPlain(tensors, 'DIR', 'vptq')).toThrow('that are quantised (vptq), such as');
  });
});

describe('a quantization_config without quantised weights', () => {
  it.each([
    [{}, []],
    [{ quant_method: 'bitsandbytes', load_in_4bit: false, load_in_8bit: false }, []],
    [{ quant_method: 'gptq', bits: 4 }, ['gptq']],
    [{ load_in_4bit: true }, ['bitsandbytes']],
  ])('%j loads', async (quantization_config, methods) => {
    const dir = copyOf('tiny-llama');
    editJson(join(dir, 'config.json'), { quantization_config });
    const model = await loadDecoder(dir);
    expect(model.warnings).toEqual(
      methods.map(
        (method) =>
          `config.json in ${dir} says that the weights are quantised by ${method}, but they are not; they are used as they are.`,
      ),
    );
    const { prompt, ids, logits } = golden('tiny-llama').greedy;
    expectSteps(stepsAlone(model, prompt, ids), logits, TOLERANCE.logits);
    model.dispose();
  });
});
