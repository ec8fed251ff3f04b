import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { dtypeOf } from '../../src/bench/report.js';
import { inspect } from '../../src/cli/inspect.js';
import { importModel } from '../../src/import/import.js';
import { examineConfig } from '../../src/model/folder.js';
import { loadDecoder } from '../../src/model/load-model.js';
import type { MemoryPlan } from '../../src/model/memory-plan.js';
import { quantiseModel } from '../../src/quantise/quantise.js';
import { quantisedBytesOf, weightDtype } from '../../src/runtime/quantised.js';
import { expectClose, relativeError } from '../support/close.js';
import { editJson, temporaryFolder } from '../support/folders.js';
import { CARRIED, HUB, type HubName, hubCopy, hubDir, hubGolden } from '../support/hub.js';
import { rewriteTensors, type Stored, safetensorsFile } from '../support/safetensors.js';
import { stepsAlone } from '../support/steps.js';
import { useTensorFlow } from '../support/tensorflow.js';

useTensorFlow();

type Options = Parameters<typeof loadDecoder>[1];

/** The logits of a checkpoint's golden run, and what is said of its weights. */
async function run(dir: string, name: HubName, options: Options = {}) {
  const { prompt, ids } = hubGolden(name);
  const model = await loadDecoder(dir, options);
  try {
    const { downProj, qkvProj } = model.weights.layers[0]!.tensors;
    const dtypes = [qkvProj, downProj].map(weightDtype);
    return { logits: stepsAlone(model, prompt, ids).flat(), dtypes, how: model.quantisedBy };
  } finally {
    model.dispose();
  }
}

const inspected = (dir: string) => inspect({ model: dir, batch: 1, streams: 2, kv: 'float32' });

describe.for(HUB)('%s', (name) => {
  it('is planned for as it is loaded, and inspected as it is stored', async () => {
    const plans: MemoryPlan[] = [];
    const model = await loadDecoder(hubDir(name), { onPlan: (plan) => plans.push(plan) });
    const { weights } = model;
    const tensors = weights.layers.flatMap((layer) => Object.values(layer.tensors));
    const bytes = [...tensors, weights.embedTokens, weights.norm, weights.lmHead].map((tensor) => {
      if (!tensor) return 0;
      const dtype = weightDtype(tensor);
      if (dtype.startsWith('int')) return quantisedBytesOf(tensor).byteLength;
      return tensor.size * (dtype === 'float32' ? 4 : 2);
    });
    const how = model.quantisedBy;
    model.dispose();
    const total = bytes.reduce((sum, each) => sum + each, 0);
    const found = await inspected(hubDir(name));
    expect(found.problems).toEqual([]);
    expect([plans[0]!.weights, found.plan!.weights]).toEqual([total, total]);
    expect(Object.keys(found.dtypes).some((dtype) => dtype.endsWith(`(${how})`))).toBe(true);
  });
});

it.each<[HubName, string]>([
  ['gptq-v1', 'int4 (GPTQ, groups of 32)'],
  ['gptq-v2-act-order', 'int4 (GPTQ, groups of 32, act-order)'],
  ['gptq-int8', 'int8 (GPTQ, a scale a row)'],
  ['awq', 'int4 (AWQ, groups of 32)'],
  ['compressed-w8a8', 'int8 (compressed-tensors, a scale a row)'],
  ['compressed-fp8-tensor', 'fp8 (one scale)'],
  ['fp8-blocks', 'fp8 (blocks of 48 x 40)'],
  ['nf4', 'nf4 (bitsandbytes, blocks of 64)'],
])('%s is described as %s', async (name, dtype) => {
  const { dtypes } = await inspected(hubDir(name));
  expect(Object.keys(dtypes)).toContain(dtype);
});

it.each(['gptq-v2-act-order', 'compressed-fp8-block', 'nf4'] as const)(
  '%s is imported as floats',
  async (name) => {
    const out = join(temporaryFolder(), 'made');
    const made = await importModel(hubDir(name), out, { dtype: 'F32' });
    expect(made.dtypes).toEqual(['F32']);
    const config = JSON.parse(readFileSync(join(out, 'config.json'), 'utf8')) as object;
    expect(config).not.toHaveProperty('quantization_config');
    const { logits, how } = await run(out, name);
    expect(how).toBe(null);
    expectClose(logits, hubGolden(name).logits.flat(), 1e-5);
    const rounded = join(temporaryFolder(), 'rounded');
    expect((await importModel(hubDir(name), rounded)).dtypes).toEqual(['BF16']);
  },
);

it.each(['awq', 'fp8-blocks'] as const)('%s is quantised anew, at load or before', async (name) => {
  const out = join(temporaryFolder(), 'made');
  await quantiseModel(hubDir(name), out, 'int8');
  const found = await run(out, name);
  expect(found.dtypes).toEqual(['int8', 'int8']);
  expect(found.logits).toEqual((await run(hubDir(name), name, { dtype: 'int8' })).logits);
  expect(relativeError(found.logits, hubGolden(name).logits.flat())).toBeLessThan(0.03);
});

it.each(['auto_round:auto_gptq', 'auto_round:gptq:exllamav2'])(
  'auto-round in the packing %s is GPTQ',
  async (packing_format) => {
    const dir = hubCopy('gptq-int8');
    editConfig(dir, { quant_method: 'auto-round', packing_format });
    const { logits, dtypes } = await run(dir, 'gptq-int8');
    expect(dtypes).toEqual(['int8', 'int8']);
    expect(logits).toEqual((await run(hubDir('gptq-int8'), 'gptq-int8')).logits);
  },
);

describe('a checkpoint of GPTQ', () => {
  const change = async (of: (tensor: Stored) => Stored | readonly Stored[]) => {
    const dir = hubCopy('gptq-v2-act-order');
    await rewriteTensors(dir, of);
    return dir;
  };
  const expected = async () => (await run(hubDir('gptq-v2-act-order'), 'gptq-v2-act-order')).logits;

  it('may have g_idx of zeros, or none, where groups are of neighbours', async () => {
    const { logits } = await run(hubDir('gptq-phi3'), 'gptq-phi3');
    for (const with_ of [
      (t: Stored) => ({ ...t, bytes: new Uint8Array(t.bytes.length) }),
      () => [],
    ]) {
      const dir = hubCopy('gptq-phi3');
      await rewriteTensors(dir, (tensor) =>
        tensor.name.endsWith('g_idx') ? with_(tensor) : tensor,
      );
      expect((await run(dir, 'gptq-phi3')).logits).toEqual(logits);
    }
  });

  it('whose q, k and v have scales of other types becomes float32 in its scales alone', async () => {
    const dir = await change((tensor) => {
      if (!/q_proj\.scales$/.test(tensor.name)) return tensor;
      const wide = Float32Array.from(new Uint16Array(tensor.bytes.slice().buffer), half);
      return { ...tensor, dtype: 'F32', bytes: new Uint8Array(wide.buffer) };
    });
    const { logits, dtypes } = await run(dir, 'gptq-v2-act-order');
    expect(dtypes).toEqual(['int4', 'int4']);
    expect(logits).toEqual(await expected());
  });

  it('whose q has another order than k has floats there', async () => {
    const dir = await change((tensor) => {
      if (!/q_proj\.g_idx$/.test(tensor.name)) return tensor;
      return { ...tensor, bytes: new Uint8Array(new Int32Array(64).buffer) };
    });
    expect((await run(dir, 'gptq-v2-act-order')).dtypes).toEqual(['float16', 'int4']);
  });

  it('whose biases are no zeros is refused, where the model has none', async () => {
    const dir = hubCopy('gptq-int8');
    await rewriteTensors(dir, (tensor) =>
      /up_proj\.bias$/.test(tensor.name) ? { ...tensor, bytes: tensor.bytes.map(() => 1) } : tensor,
    );
    await expect(loadDecoder(dir)).rejects.toThrow('holds 1 biases that a llama model');
  });
});

it('groups that the kernels do not have become floats', async () => {
  const dir = hubCopy('compressed-w4a16');
  editConfig(dir, {
    config_groups: {
      g: {
        targets: ['Linear'],
        weights: { num_bits: 4, type: 'int', strategy: 'group', group_size: 16 },
      },
    },
  });
  await rewriteTensors(dir, (tensor) => {
    if (!tensor.name.endsWith('weight_scale')) return tensor;
    const before = new Uint16Array(tensor.bytes.slice().buffer);
    const twice = Uint16Array.from({ length: 2 * before.length }, (_, i) => before[i >> 1]!);
    const shape = [tensor.shape[0]!, 2 * tensor.shape[1]!];
    return { ...tensor, shape, bytes: new Uint8Array(twice.buffer) };
  });
  expect((await run(dir, 'compressed-w4a16')).dtypes).toEqual(['bfloat16', 'bfloat16']);
  const { logits } = await run(dir, 'compressed-w4a16', { dtype: 'float32' });
  expectClose(logits, hubGolden('compressed-w4a16').logits.flat(), 1e-5);
});

it('an adapter makes floats of the weights that it may change', async () => {
  const lora = temporaryFolder();
  const module = 'base_model.model.model.layers.0.self_attn.q_proj';
  const matrix = (part: string, shape: readonly number[], value: number): Stored => {
    const values = new Float32Array(shape[0]! * shape[1]!).fill(value);
    return {
      name: `${module}.lora_${part}.weight`,
      dtype: 'F32',
      shape,
      bytes: new Uint8Array(values.buffer),
    };
  };
  writeFileSync(
    join(lora, 'adapter_config.json'),
    JSON.stringify({ peft_type: 'LORA', r: 2, lora_alpha: 2, target_modules: ['q_proj'] }),
  );
  const file = safetensorsFile([matrix('A', [2, 64], 1), matrix('B', [64, 2], 0)]);
  writeFileSync(join(lora, 'adapter_model.safetensors'), file);
  const found = await run(hubDir('awq'), 'awq', { adapters: [{ dir: lora }] });
  expect(found.dtypes).toEqual(['float16', 'float16']);
  expectClose(found.logits, hubGolden('awq').rounded.flat(), 1e-5);
});

it('a report of benchmarks names the dtype and how it came to be', async () => {
  const model = await loadDecoder(hubDir('gptq-int8'));
  const anew = await loadDecoder(hubDir('gptq-int8'), { dtype: 'int4' });
  expect([dtypeOf(model), dtypeOf(anew)]).toEqual(['int8 (GPTQ, a scale a row)', 'int4']);
  model.dispose();
  anew.dispose();
});

it.each(CARRIED)('the config.json of %s alone gives nearly the same plan', async (name) => {
  const file = join(hubDir(name), 'config.json');
  const alone = await inspect({ config: file, batch: 1, streams: 2, kv: 'float32' });
  const { plan } = await inspected(hubDir(name));
  // some layers of these have other bits or none, and rows are padded to blocks
  expect(alone.plan!.weights / plan!.weights).toBeGreaterThan(0.6);
  expect(alone.plan!.weights / plan!.weights).toBeLessThan(1.2);
});

it('a config.json alone is no problem where its format is read', async () => {
  for (const name of HUB) {
    expect((await examineConfig(join(hubDir(name), 'config.json'))).problems).toEqual([]);
  }
});

function editConfig(dir: string, changes: object): void {
  const file = join(dir, 'config.json');
  const { quantization_config: before } = JSON.parse(readFileSync(file, 'utf8')) as {
    quantization_config: object;
  };
  editJson(file, { quantization_config: { ...before, ...changes } });
}

/** A normal float16. */
function half(bits: number): number {
  return (1 + (bits & 1023) / 1024) * 2 ** (((bits >> 10) & 31) - 15);
}
