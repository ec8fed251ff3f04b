import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { inspect } from '../../src/cli/inspect.js';
import { loadDecoder } from '../../src/model/load-model.js';
import { editJson } from '../support/folders.js';
import { type HubName, hubCopy, hubDir } from '../support/hub.js';
import { rewriteTensors, type Stored } from '../support/safetensors.js';
import { errorOf, expectNoLeak, useTensorFlow } from '../support/tensorflow.js';

useTensorFlow();

const DOWN = 'model.layers.0.mlp.down_proj';

type Change = (tensor: Stored) => Stored | readonly Stored[];
const at = (part: string, change: Change) => (tensor: Stored) =>
  tensor.name === `${DOWN}.${part}` ? change(tensor) : tensor;
const without = (part: string) => at(part, () => []);
const shaped = (part: string, shape: readonly number[]) =>
  at(part, (tensor) => {
    const count = (sizes: readonly number[]) => sizes.reduce((product, size) => product * size, 1);
    const bytes = new Uint8Array((tensor.bytes.length / count(tensor.shape)) * count(shape));
    return { ...tensor, shape, bytes };
  });
const typed = (part: string, dtype: string) => at(part, (tensor) => ({ ...tensor, dtype }));
/** A value of 16 or 32 bits put at element 5 of a part. */
const valued = (part: string, bits: 8 | 16 | 32, value: number) =>
  at(part, (tensor) => {
    const bytes = tensor.bytes.slice();
    const view = new DataView(bytes.buffer);
    if (bits === 8) view.setUint8(5, value);
    if (bits === 16) view.setUint16(10, value, true);
    if (bits === 32) view.setInt32(20, value, true);
    return { ...tensor, bytes };
  });

const CASES: readonly [HubName, string, Change, string][] = [
  [
    'gptq-v2-act-order',
    'a packed shape off by one',
    shaped('qweight', [11, 64]),
    'qweight is I32 [11, 64] in',
  ],
  ['gptq-v2-act-order', 'a group too many', shaped('scales', [4, 64]), 'scales is F16 [4, 64] in'],
  [
    'gptq-v2-act-order',
    'a group too few',
    shaped('scales', [2, 64]),
    'where F16 or BF16 or F32 [3, 64] is expected',
  ],
  [
    'gptq-v2-act-order',
    'zero points of another shape',
    shaped('qzeros', [3, 7]),
    'qzeros is I32 [3, 7] in',
  ],
  [
    'gptq-v2-act-order',
    'a negative group',
    valued('g_idx', 32, -1),
    'has -1 at 5 where 0 to 2 is expected',
  ],
  [
    'gptq-v2-act-order',
    'a group beyond',
    valued('g_idx', 32, 3),
    'has 3 at 5 where 0 to 2 is expected',
  ],
  ['gptq-v2-act-order', 'a g_idx of another length', shaped('g_idx', [95]), 'g_idx is I32 [95] in'],
  [
    'gptq-v2-act-order',
    'no scales',
    without('scales'),
    'scales F16 or BF16 or F32 [3, 64] is missing',
  ],
  ['gptq-v2-act-order', 'no zero points', without('qzeros'), 'qzeros I32 [3, 8] is missing'],
  ['gptq-v2-act-order', 'no numbers', without('qweight'), `${DOWN}.`],
  [
    'gptq-v2-act-order',
    'scales in whole numbers',
    typed('scales', 'I16'),
    'scales is I16 [3, 64] in',
  ],
  [
    'gptq-v2-act-order',
    'a scale that is NaN',
    valued('scales', 16, 0x7e00),
    'has an infinite scale or NaN at 5',
  ],
  [
    'gptq-v2-act-order',
    'an infinite scale',
    valued('scales', 16, 0xfc00),
    'has an infinite scale or NaN at 5',
  ],
  [
    'gptq-v2-act-order',
    'another zero point',
    valued('qzeros', 32, 0x11111111),
    'has the zero point 1 at [0, 40], read as v2, where sym of config.json means 8',
  ],
  ['awq', 'a packed shape off by one', shaped('qweight', [96, 9]), 'qweight is I32 [96, 9] in'],
  [
    'awq',
    'a group too few',
    shaped('scales', [2, 64]),
    'where F16 or BF16 or F32 [3, 64] is expected',
  ],
  ['awq', 'no zero points', without('qzeros'), 'qzeros I32 [3, 8] is missing'],
  ['awq', 'a scale that is NaN', valued('scales', 16, 0x7e00), 'has an infinite scale or NaN at 5'],
  [
    'compressed-w4a16',
    'a packed shape off by one',
    shaped('weight_packed', [64, 13]),
    'weight_packed is I32 [64, 13] in',
  ],
  [
    'compressed-w4a16',
    'a group too few',
    shaped('weight_scale', [64, 2]),
    'where F16 or BF16 or F32 [64, 3] is expected',
  ],
  [
    'compressed-w4a16',
    'no scales',
    without('weight_scale'),
    'weight_scale F16 or BF16 or F32 [64, 3] is missing',
  ],
  [
    'compressed-w4a16',
    'a scale that is NaN',
    valued('weight_scale', 16, 0x7fc0),
    'has an infinite scale or NaN at 5',
  ],
  [
    'compressed-w4a16-act-order',
    'a group beyond',
    valued('weight_g_idx', 32, 3),
    'has 3 at 5 where 0 to 2 is expected',
  ],
  [
    'compressed-w4a16-act-order',
    'zero points of another shape',
    shaped('weight_zero_point', [8, 2]),
    'weight_zero_point is I32 [8, 2] in',
  ],
  ['compressed-w8a8', 'another shape', shaped('weight', [64, 95]), 'weight is I8 [64, 95] in'],
  [
    'compressed-fp8-block',
    'a block too few',
    shaped('weight_scale', [2, 2]),
    'weight_scale is BF16 [2, 2] in',
  ],
  [
    'compressed-fp8-channel',
    'a weight that is NaN',
    valued('weight', 8, 0x7f),
    'has a weight at [0, 5] that is infinite or NaN',
  ],
  [
    'fp8-blocks',
    'no scales',
    without('weight_scale_inv'),
    'weight_scale_inv F16 or BF16 or F32 [2, 3] is missing',
  ],
  [
    'fp8-blocks',
    'an infinite scale',
    valued('weight_scale_inv', 32, 0x7f800000),
    'has an infinite scale or NaN at 5',
  ],
  ['nf4', 'a packed shape off by one', shaped('weight', [3071, 1]), 'weight is U8 [3071, 1] in'],
  ['nf4', 'a scale too few', shaped('weight.absmax', [95]), 'absmax is F32 [95] in'],
  ['nf4', 'no description', without('weight.quant_state.bitsandbytes__nf4'), 'bitsandbytes__nf4 '],
  [
    'nf4',
    'a description that is none',
    valued('weight.quant_state.bitsandbytes__nf4', 8, 0),
    'is not valid JSON',
  ],
  [
    'nf4-nested',
    'a level that is NaN',
    valued('weight.quant_map', 32, 0x7fc00000),
    'infinite or NaN',
  ],
];

describe('damage is told in a sentence', () => {
  it.each(CASES)('%s: %s', async (name, _, change, message) => {
    const dir = hubCopy(name);
    await rewriteTensors(dir, change);
    const error = await expectNoLeak(() => errorOf(() => loadDecoder(dir)));
    expect(error).toMatchObject({
      code: 'bad-tensor',
      message: expect.stringContaining(message),
    });
    expect(error.message).toContain(DOWN);
  });
});

/** Changes a checkpoint's quantization_config. */
function changed(name: HubName, changes: object): string {
  const dir = hubCopy(name);
  const file = join(dir, 'config.json');
  const { quantization_config: before } = JSON.parse(
    readFileSync(join(hubDir(name), 'config.json'), 'utf8'),
  );
  editJson(file, { quantization_config: { ...before, ...changes } });
  return dir;
}
const group = (weights: object) => ({ config_groups: { g: { targets: ['Linear'], weights } } });

it('weights of a format that config.json does not describe', async () => {
  const dir = hubCopy('awq');
  editJson(join(dir, 'config.json'), { quantization_config: undefined });
  expect(await errorOf(() => loadDecoder(dir))).toMatchObject({
    code: 'unsupported',
    message: expect.stringContaining('put the quantization_config that describes them into'),
  });
});

describe('what is not read is refused by name', () => {
  it.each<[HubName, object, string]>([
    ['gptq-v1', { bits: 3 }, 'GPTQ in 3 bits where 4 or 8 bits can be read'],
    ['gptq-v1', { dynamic: { '.*q_proj': { bits: 2 } } }, 'GPTQ in 2 bits'],
    ['gptq-v1', { checkpoint_format: 'marlin' }, 'GPTQ in the layout marlin where gptq or gptq_v2'],
    ['gptq-v1', { is_marlin_format: true }, 'GPTQ in the layout marlin'],
    ['gptq-v1', { pack_dtype: 'int16' }, 'GPTQ packed in int16'],
    ['gptq-v1', { quant_method: 'auto-round' }, 'auto-round in the packing auto_round where'],
    ['awq', { version: 'gemv' }, 'AWQ in the layout gemv where gemm'],
    ['awq', { version: 'marlin' }, 'AWQ in the layout marlin'],
    ['awq', { bits: 8 }, 'AWQ in 8 bits'],
    ['compressed-w4a16', { format: 'marlin-24' }, 'compressed-tensors in the format marlin-24'],
    ['compressed-w4a16', { format: 'nvfp4-pack-quantized' }, 'the format nvfp4-pack-quantized'],
    ['compressed-w4a16', { sparsity_config: { format: 'sparse-24-bitmask' } }, 'sparse-24-bitmask'],
    ['compressed-w4a16', group({ num_bits: 2 }), 'compressed-tensors in 2 bits'],
    ['compressed-fp8-block', group({ num_bits: 4, type: 'float' }), 'floats of 4 bits'],
    ['fp8-blocks', { fmt: 'e5m2' }, 'FP8 of the type e5m2'],
    ['nf4', { bnb_4bit_quant_type: 'fp4' }, 'bitsandbytes with fp4 where nf4'],
    ['nf4', { load_in_4bit: false, load_in_8bit: true }, 'bitsandbytes with 8 bits'],
    ['gptq-v1', { quant_method: 'hqq' }, 'are quantised (GPTQ), such as'],
  ])('%s with %j', async (name, changes, message) => {
    const dir = changed(name, changes);
    const error = await errorOf(() => loadDecoder(dir));
    expect(error).toMatchObject({ code: 'unsupported', message: expect.stringContaining(message) });
    const { problems } = await inspect({ model: dir, batch: 1, streams: 2, kv: 'float32' });
    expect(problems).toEqual([expect.stringContaining(message)]);
  });

  it.each<[HubName, object, string]>([
    ['gptq-v1', { bits: 'four' }, 'bits: expected number, found string'],
    ['awq', { group_size: 1.5 }, 'group_size: expected int'],
    ['compressed-w8a8', { config_groups: [] }, 'config_groups'],
    ['fp8-blocks', { weight_block_size: [128] }, 'weight_block_size'],
  ])('%s with %j is no configuration', async (name, changes, message) => {
    expect(await errorOf(() => loadDecoder(changed(name, changes)))).toMatchObject({
      code: 'bad-config',
      message: expect.stringContaining(message),
    });
  });

  it('v1 that is called v2, which would shift every weight', async () => {
    const dir = changed('gptq-int8', { checkpoint_format: 'gptq_v2' });
    expect(await errorOf(() => loadDecoder(dir))).toMatchObject({
      code: 'bad-tensor',
      message: expect.stringContaining('has the zero point 127 at [0, 0], read as v2, where sym'),
    });
  });
});
