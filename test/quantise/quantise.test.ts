import { cpSync, existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, test } from 'vitest';
import { openCheckpoint } from '../../src/checkpoint/checkpoint.js';
import { importModel } from '../../src/import/import.js';
import { loadModel } from '../../src/index.js';
import { loadConfig } from '../../src/model/config.js';
import { expectedTensors } from '../../src/model/families.js';
import type { WeightDtype } from '../../src/model/load.js';
import { loadDecoder } from '../../src/model/load-model.js';
import type { MemoryPlan } from '../../src/model/memory-plan.js';
import { type Reorder, rowOrderOf } from '../../src/model/partial-rotation.js';
import { isQkv, stackedName } from '../../src/model/stacks.js';
import { quantiseModel } from '../../src/quantise/quantise.js';
import { dequantise, isQuantised, weightDtype } from '../../src/runtime/quantised.js';
import { CHECKPOINTS, type CheckpointName, checkpointDir, golden } from '../support/checkpoints.js';
import { sda } from '../support/cli.js';
import { expectClose } from '../support/close.js';
import { copyOf, editJson, temporaryFolder } from '../support/folders.js';
import { rewriteTensors, type Stored, safetensorsFile } from '../support/safetensors.js';
import { stepsAlone } from '../support/steps.js';
import { errorOf, expectNoLeak, useTensorFlow } from '../support/tensorflow.js';

useTensorFlow();

const DTYPES = ['int8', 'int4'] as const;
const CASES = CHECKPOINTS.flatMap((name) => DTYPES.map((dtype) => ({ name, dtype })));

async function quantised(name: CheckpointName, dtype: 'int8' | 'int4'): Promise<string> {
  const out = join(temporaryFolder(), 'made');
  await quantiseModel(checkpointDir(name), out, dtype);
  return out;
}

/** The steps of a checkpoint's golden run. */
async function steps(dir: string, name: CheckpointName, dtype: WeightDtype): Promise<number[][]> {
  const { prompt, ids } = golden(name).greedy;
  const model = await loadDecoder(dir, { dtype });
  try {
    return stepsAlone(model, prompt, ids);
  } finally {
    model.dispose();
  }
}

/** Rows as they were before they were reordered. */
function inFirstOrder(values: Float32Array, columns: number, reorder: Reorder): Float32Array {
  const sources = Uint32Array.from({ length: values.length / columns }, (_, row) => row);
  reorder(new Uint8Array(sources.buffer), sources.length);
  const ordered = new Float32Array(values.length);
  for (const [row, source] of sources.entries()) {
    ordered.set(values.subarray(row * columns, (row + 1) * columns), source * columns);
  }
  return ordered;
}

/** A copy of a checkpoint in float32 whose matrices are those that quantised ones stand for. */
async function dequantisedCopy(name: CheckpointName, made: string): Promise<string> {
  const dir = copyOf(name);
  const config = await loadConfig(dir);
  const source = await openCheckpoint(dir);
  const checkpoint = await openCheckpoint(made);
  const tensors: Stored[] = [];
  for (const [stacked, info] of checkpoint.tensors) {
    const bytes = await checkpoint.read(stacked);
    if (info.dtype !== 'U8') {
      tensors.push({ name: stacked, dtype: info.dtype, shape: info.shape, bytes });
      continue;
    }
    const reorder = isQkv(stacked) ? rowOrderOf(config) : undefined;
    let values = dequantise(bytes);
    if (reorder) values = inFirstOrder(values, config.hiddenSize, reorder);
    const parts = expectedTensors(config).filter((spec) => stackedName(spec.name) === stacked);
    for (const { name: part } of parts) {
      const { shape } = source.tensors.get(part)!;
      const own = values.slice(0, shape[0]! * shape[1]!);
      values = values.subarray(own.length);
      tensors.push({ name: part, dtype: 'F32', shape, bytes: new Uint8Array(own.buffer) });
    }
    expect(values.length).toBe(0);
  }
  await source.close();
  await checkpoint.close();
  for (const file of readdirSync(dir)) if (/safetensors/.test(file)) rmSync(join(dir, file));
  writeFileSync(join(dir, 'model.safetensors'), safetensorsFile(tensors));
  return dir;
}

describe.for(CASES)('$name in $dtype', ({ name, dtype }) => {
  it('has the logits of the weights that it stands for', async () => {
    await expectNoLeak(async () => {
      const dir = await quantised(name, dtype);
      const found = await steps(dir, name, 'auto');
      const expected = await steps(await dequantisedCopy(name, dir), name, 'float32');
      // activations have 16 bits in a group of 32, through two layers
      for (const [i, logits] of found.entries()) expectClose(logits, expected[i]!, 5e-4);
    });
  });

  it('is the same to the bit made at load and read from a folder', async () => {
    const dir = await quantised(name, dtype);
    expect(await steps(dir, name, 'auto')).toEqual(await steps(checkpointDir(name), name, dtype));
  });

  it('is planned for as it is', async () => {
    const plans: MemoryPlan[] = [];
    const onPlan = (plan: MemoryPlan) => plans.push(plan);
    const model = await loadDecoder(checkpointDir(name), { dtype, onPlan });
    const matrices = model.weights.layers.flatMap(({ tensors }) => [
      tensors.qkvProj,
      tensors.oProj,
      tensors.gateUpProj,
      tensors.downProj,
    ]);
    expect(new Set(matrices.map(weightDtype))).toEqual(new Set([dtype]));
    expect(weightDtype(model.weights.lmHead)).toBe('int8');
    expect(isQuantised(model.weights.norm)).toBe(false);
    model.dispose();
    const dir = await quantised(name, dtype);
    (await loadDecoder(dir, { onPlan })).dispose();
    const checkpoint = await openCheckpoint(dir);
    await checkpoint.close();
    const sizes = [...checkpoint.tensors.values()].map(({ byteLength, dtype, shape }) =>
      dtype === 'U8' ? byteLength : 4 * shape[0]!,
    );
    const total = sizes.reduce((sum, size) => sum + size, 0);
    expect(plans.map(({ weights }) => weights)).toEqual([total, total]);
  });
});

it('answers by the command line, which says what it made', async () => {
  const out = join(temporaryFolder(), 'made');
  const made = await sda(['quantise', checkpointDir('tiny-llama'), '--out', out]);
  expect(made.code).toBe(0);
  expect(made.stderr).toMatch(/^warning: The imported model takes token ids only: .*\n$/);
  expect(made.stdout).toMatch(/^made .*: int8, .* in model\.safetensors\n/);
  expect(made.stdout).toContain(`next: sda logits --model ${out}`);
  const config = JSON.parse(readFileSync(join(out, 'config.json'), 'utf8')) as object;
  expect(config).toMatchObject({
    quantization_config: { quant_method: 'sda', dtype: 'int8', group_size: 32 },
  });
  const inspected = await sda(['inspect', out, '--json']);
  expect(inspected.code).toBe(0);
  expect(JSON.parse(inspected.stdout)).toMatchObject({ problems: [] });
  const logits = await sda(['logits', '--model', out, '--ids', '1 2 3', '--json']);
  expect([logits.code, logits.stderr]).toEqual([0, '']);
});

it.each(['quantise', 'import'])('%s says in how many files the weights are', async (command) => {
  const out = join(temporaryFolder(), 'made');
  const source = checkpointDir('tiny-llama');
  const made = await sda([command, source, '--out', out, '--max-shard-size', '50KB']);
  const files = readdirSync(out).filter((name) => name.endsWith('.safetensors'));
  expect(files.length).toBeGreaterThan(1);
  expect(made.stdout).toMatch(new RegExp(`^made .* in ${files.length} files\\n`));
});

describe('a folder of quantised weights', () => {
  it.each<[string, Parameters<typeof loadModel>[1], string]>([
    ['another dtype', { dtype: 'bfloat16' }, 'are used as they are, where bfloat16 is asked for'],
    ['its own dtype', { dtype: 'int8' }, 'are used as they are, where int8 is asked for'],
    ['adapters', { adapters: [{ dir: 'lora' }] }, 'into which no adapter can be merged'],
  ])('refuses %s', async (_, options, message) => {
    const dir = await quantised('tiny-llama', 'int8');
    const error = await expectNoLeak(() => errorOf(() => loadModel(dir, options)));
    expect(error).toMatchObject({ code: 'bad-input', message: expect.stringContaining(message) });
  });

  it.each<[string, (dir: string, out: string) => Promise<unknown>]>([
    ['an import', (dir, out) => importModel(dir, out)],
    ['itself again', (dir, out) => quantiseModel(dir, out, 'int4')],
  ])('is no source for %s', async (_, make) => {
    const dir = await quantised('tiny-llama', 'int8');
    const out = join(temporaryFolder(), 'other');
    const error = await errorOf(() => make(dir, out));
    expect(error).toMatchObject({
      code: 'bad-input',
      message: expect.stringContaining('give the model that they were made of'),
    });
    expect(existsSync(out)).toBe(false);
  });
});

const DOWN = 'model.layers.0.mlp.down_proj.weight';

const edited = (change: (bytes: Uint8Array) => Uint8Array) => (tensor: Stored) => {
  if (tensor.name !== DOWN) return tensor;
  const bytes = change(tensor.bytes.slice());
  return { ...tensor, bytes, shape: [bytes.byteLength] };
};
const withByte = (at: number, value: number) =>
  edited((bytes) => {
    bytes[at] = value;
    return bytes;
  });

/** The scale of the first group of the first row, a bfloat16. */
const withScale = (bits: number) =>
  edited((bytes) => {
    new DataView(bytes.buffer).setUint16(64, bits, true);
    return bytes;
  });

describe('damage is told in a sentence', () => {
  it.each<[string, (tensor: Stored) => Stored | readonly Stored[], string]>([
    ['no header', withByte(0, 0), 'is no quantised matrix where one of'],
    ['other bits', withByte(8, 4), 'in 4 bits and 1 part where one of'],
    ['bits that there are not', withByte(8, 3), 'is no quantised matrix where one of'],
    ['other parts', withByte(12, 2), 'in 8 bits and 2 parts where one of'],
    ['no parts', withByte(12, 0), 'is no quantised matrix where one of'],
    ['other rows', withByte(16, 1), 'is a matrix [1, '],
    ['other columns', withByte(24, 1), ', 1] in 8 bits'],
    ['a scale that is NaN', withScale(0x7fc0), 'infinite or NaN; quantise'],
    ['a scale that is negative', withScale(0xbf80), 'has scales that are negative'],
    ['a line less', edited((bytes) => bytes.slice(64)), 'where U8 ['],
    ['nothing', edited(() => new Uint8Array()), 'where U8 ['],
    ['another dtype', (t) => (t.name === DOWN ? { ...t, dtype: 'I8' } : t), 'is I8 ['],
    ['no matrix', (t) => (t.name === DOWN ? [] : t), `${DOWN} [`],
  ])('%s', async (_, change, message) => {
    const dir = await quantised('tiny-llama', 'int8');
    await rewriteTensors(dir, change);
    const error = await expectNoLeak(() => errorOf(() => loadDecoder(dir)));
    expect(error).toMatchObject({
      code: 'bad-tensor',
      message: expect.stringContaining(message),
    });
    expect(error.message).toContain(DOWN);
  });

  test('a config.json that does not say so', async () => {
    const dir = await quantised('tiny-llama', 'int8');
    editJson(join(dir, 'config.json'), { quantization_config: undefined });
    expect(await errorOf(() => loadDecoder(dir))).toMatchObject({ code: 'unsupported' });
  });

  test('a config.json that says so of floats', async () => {
    const dir = join(temporaryFolder(), 'floats');
    cpSync(checkpointDir('tiny-llama'), dir, { recursive: true });
    editJson(join(dir, 'config.json'), { quantization_config: { quant_method: 'sda' } });
    expect(await errorOf(() => loadDecoder(dir))).toMatchObject({ code: 'bad-tensor' });
  });

  test('weights that are not finite', async () => {
    const dir = copyOf('tiny-llama');
    await rewriteTensors(dir, (tensor) => {
      if (tensor.name !== DOWN) return tensor;
      const values = new Float32Array(tensor.bytes.slice().buffer);
      values[5] = Number.NaN;
      return { ...tensor, bytes: new Uint8Array(values.buffer) };
    });
    const out = join(temporaryFolder(), 'made');
    for (const load of [
      () => loadDecoder(dir, { dtype: 'int8' }),
      () => quantiseModel(dir, out, 'int4'),
    ]) {
      expect(await expectNoLeak(() => errorOf(load))).toMatchObject({
        code: 'bad-tensor',
        message: expect.stringMatching(/down_proj.weight of .* cannot be quantised \(.*finite/),
      });
    }
    expect(existsSync(out)).toBe(false);
  });
});

it('a form that the processor has not is told', async () => {
  const options = ['logits', '--model', checkpointDir('tiny-llama'), '--ids', '1', '--json'];
  const { code, stderr } = await sda(options, { env: { SDA_ISA: 'mmx' } });
  expect(code).toBe(2);
  expect(stderr).toMatch(/SDA_ISA must be one of .*portable on this processor, not "mmx"/);
});
