import { copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import {
  type AdapterSource,
  adapterFingerprint,
  withAdapters,
} from '../../src/checkpoint/adapter/merge.js';
import { patternOf } from '../../src/checkpoint/adapter/pattern.js';
import { type Checkpoint, openCheckpoint } from '../../src/checkpoint/checkpoint.js';
import { parseConfig } from '../../src/experiment/config.js';
import { modelFingerprint } from '../../src/experiment/identity.js';
import { importModel } from '../../src/import/import.js';
import { loadModel } from '../../src/index.js';
import { matrixProduct } from '../../src/runtime/matrix-product.js';
import { packageRoot } from '../../src/runtime/paths.js';
import { expectLogits, fixture, golden } from '../import/fixtures.js';
import { checkpointDir } from '../support/checkpoints.js';
import { sda, sdaJson } from '../support/cli.js';
import { expectClose } from '../support/close.js';
import { editJson, temporaryFolder } from '../support/folders.js';
import { useTensorFlow } from '../support/tensorflow.js';
import { TOLERANCE } from '../support/tolerances.js';

useTensorFlow();

const BASE = checkpointDir('tiny-llama');
const NAMES = ['patterns', 'rslora', 'saved'] as const;

interface Merged {
  readonly tensors: Readonly<Record<string, readonly (readonly [number, number])[]>>;
  readonly logits: number[];
}
const expected = golden<Record<(typeof NAMES)[number], Merged> & { ids: number[] }>('lora');

const lora = (name: string) => fixture('lora', name);

async function merging<T>(
  adapters: readonly AdapterSource[],
  body: (merged: Checkpoint) => Promise<T>,
  options: Parameters<typeof withAdapters>[2] = {},
  base = BASE,
): Promise<T> {
  let checkpoint = await openCheckpoint(base);
  try {
    checkpoint = await withAdapters(checkpoint, adapters, options);
    return await body(checkpoint);
  } finally {
    await checkpoint.close();
  }
}

async function floatsOf(checkpoint: Checkpoint, name: string): Promise<Float32Array> {
  return new Float32Array((await checkpoint.read(name)).buffer);
}

/** A copy of an adapter that the test may change. */
function copyOfAdapter(name: string): string {
  const dir = temporaryFolder();
  for (const file of ['adapter_config.json', 'adapter_model.safetensors']) {
    copyFileSync(join(lora(name), file), join(dir, file));
  }
  return dir;
}

describe('merged weights', () => {
  it.each(
    NAMES.flatMap((name) => [
      [name, 'plainly', {}] as const,
      [name, 'by TensorFlow', { product: matrixProduct }] as const,
    ]),
  )('%s, %s: those of PEFT to 1e-6', async (name, _, options) => {
    await merging(
      [{ dir: lora(name) }],
      async (merged) => {
        const { tensors } = expected[name];
        expect([...merged.tensors.keys()].sort()).toEqual(Object.keys(tensors).sort());
        for (const [tensor, places] of Object.entries(tensors)) {
          const values = await floatsOf(merged, tensor);
          const found = places.map(([place]) => values[place]!);
          expectClose(
            found,
            places.map(([, value]) => value),
            1e-6,
          );
        }
      },
      options,
    );
  });

  it.each(NAMES)('%s: the logits of PEFT, merged at load and by an import', async (name) => {
    const model = await loadModel(BASE, { adapters: [{ dir: lora(name) }] });
    expectClose(await model.logits(expected.ids), expected[name].logits, TOLERANCE.logits);
    model.dispose();
    const out = join(temporaryFolder(), 'merged');
    await importModel(BASE, out, { adapters: [{ dir: lora(name) }] });
    await expectLogits(out, expected.ids, expected[name].logits);
  });

  it('an adapter_model.bin is merged by an import, and at load it says so', async () => {
    const [plain, pickled] = ['rslora', 'pickled'].map((name) => join(temporaryFolder(), name));
    await importModel(BASE, plain!, { adapters: [{ dir: lora('rslora') }] });
    await importModel(BASE, pickled!, { adapters: [{ dir: lora('pickled') }] });
    const [one, other] = [plain!, pickled!].map((dir) =>
      readFileSync(join(dir, 'model.safetensors')),
    );
    expect(one!.equals(other!)).toBe(true);
    const loading = loadModel(BASE, { adapters: [{ dir: lora('pickled') }] });
    const advice = `sda import BASE --adapter ${lora('pickled')} --out DIR`;
    await expect(loading).rejects.toThrow(advice);
    await expect(adapterFingerprint({ dir: lora('pickled') })).rejects.toThrow(advice);
  });

  it('several with weights add up, and are rounded once', async () => {
    const name = 'model.layers.0.self_attn.q_proj.weight';
    const twice = [
      { dir: lora('patterns'), weight: 0.75 },
      { dir: lora('patterns'), weight: -2 },
    ];
    const [base, one] = await merging([], (none) =>
      merging([{ dir: lora('patterns') }], (merged) =>
        Promise.all([floatsOf(none, name), floatsOf(merged, name)]),
      ),
    );
    const sum = await merging(twice, (merged) => floatsOf(merged, name));
    const wanted = base!.map((value, i) => value + (0.75 - 2) * (one![i]! - value));
    expectClose(sum, wanted, 1e-6);
    expect(Array.from(one!)).not.toEqual(Array.from(base!));
  });

  it('in bfloat16 are the float32 ones, rounded', async () => {
    const dir = join(temporaryFolder(), 'base');
    await importModel(BASE, dir, { dtype: 'BF16' });
    const wide = join(temporaryFolder(), 'wide');
    await importModel(dir, wide, { dtype: 'F32' });
    const [narrow, exact] = [join(dir, '..', 'narrow'), join(dir, '..', 'exact')];
    await importModel(dir, narrow, { adapters: [{ dir: lora('rslora') }] });
    await importModel(wide, exact, { adapters: [{ dir: lora('rslora') }], dtype: 'BF16' });
    const file = 'model.safetensors';
    expect(readFileSync(join(narrow, file)).equals(readFileSync(join(exact, file)))).toBe(true);
  });
});

describe('by the command line', () => {
  it('generate and bench take --adapter', async () => {
    const ids = expected.ids.join(' ');
    const prompts = ['--base-ids', ids, '--instructed-ids', ids];
    const options = ['--greedy', '--max-tokens', '4', '--ignore-eos', '--mode', 'base'];
    const of = (...adapters: string[]) =>
      sdaJson<{ token_ids: number[] }>([
        ...['generate', '--model', BASE, ...prompts, ...options],
        ...adapters.flatMap((adapter) => ['--adapter', adapter]),
      ]);
    const { logits } = expected.patterns;
    const first = logits.indexOf(Math.max(...logits));
    expect((await of(lora('patterns'))).token_ids[0]).toBe(first);
    expect((await of(`${lora('patterns')}=0`)).token_ids).toEqual((await of()).token_ids);
    const bench = await sda([
      ...['bench', '--model', BASE, '--adapter', lora('nothing'), '--tokens', '2'],
    ]);
    expect(bench.code).toBe(1);
    expect(bench.stderr).toContain('adapter_config.json does not exist');
  });

  it('run takes it in place of those of its configuration', async () => {
    const config = join(packageRoot(), 'examples', 'offline.yaml');
    const { code, stdout } = await sda(['run', config, '--check', '--adapter', 'some/lora=0.5']);
    expect(code).toBe(0);
    expect(stdout).toMatch(/adapters:\n +- dir: some\/lora\n +weight: 0\.5\n/);
    const given = { adapters: ['a', { dir: 'b', weight: 2 }] };
    const { model } = parseConfig(
      { model: given, data: { file: 'x', fields: { query: 'question' } } },
      'name',
    );
    expect(model.adapters).toEqual([
      { dir: 'a', weight: 1 },
      { dir: 'b', weight: 2 },
    ]);
  });

  it('a fingerprint covers the adapter, its settings and its weight', async () => {
    const adapter = copyOfAdapter('rslora');
    const found = new Set([await modelFingerprint(BASE)]);
    const add = async (source: AdapterSource) => found.add(await modelFingerprint(BASE, [source]));
    await add({ dir: adapter });
    expect(await modelFingerprint(BASE, [{ dir: lora('rslora'), weight: 1 }])).toBe(
      [...found].at(-1),
    );
    await add({ dir: adapter, weight: 0.5 });
    editJson(join(adapter, 'adapter_config.json'), { lora_alpha: 6 });
    await add({ dir: adapter });
    const file = join(adapter, 'adapter_model.safetensors');
    const bytes = readFileSync(file);
    bytes.writeUInt8(bytes.readUInt8(bytes.length - 2) ^ 1, bytes.length - 2);
    writeFileSync(file, bytes);
    await add({ dir: adapter });
    expect(found.size).toBe(5);
    await expect(adapterFingerprint({ dir: BASE })).rejects.toThrow('adapter_config.json');
  });
});

describe('what is refused, by its name', () => {
  it.each([
    ['DoRA', { use_dora: true }, 'DoRA'],
    ['another kind', { peft_type: 'IA3' }, 'IA3'],
    ['another task', { task_type: 'SEQ_CLS' }, 'SEQ_CLS'],
    ['a changed base', { init_lora_weights: 'pissa_niter_4' }, 'pissa_niter_4'],
    ['replicated layers', { layer_replication: [[0, 2]] }, 'layer_replication'],
    ['a rank that is not that of its tensors', { r: 7 }, 'rank 3 where'],
    ['no rank', { r: 0 }, 'r: '],
    ['a pattern that is none', { rank_pattern: { '(': 2 } }, '"("'],
    ['a pattern that takes long', { alpha_pattern: { '(a+)+b': 2 } }, '"(a+)+b"'],
  ])('%s', async (_, changes, message) => {
    const dir = copyOfAdapter('rslora');
    editJson(join(dir, 'adapter_config.json'), changes);
    const merged = merging([{ dir }], async () => {});
    await expect(merged).rejects.toThrow(message);
    await expect(merging([{ dir }], async () => {})).rejects.toThrow(dir);
  });

  it('a base model of other shapes, or without the module', async () => {
    const merged = (base: string) => merging([{ dir: lora('patterns') }], async () => {}, {}, base);
    await expect(merged(checkpointDir('tiny-qwen3'))).rejects.toThrow(
      /does not fit the base model in \d+ tensors: .*embed_tokens.weight is \[89, 48\] there/,
    );
  });

  it('embedding or head of a model that ties them', async () => {
    const dir = join(temporaryFolder(), 'tied');
    await importModel(BASE, dir);
    editJson(join(dir, 'config.json'), { tie_word_embeddings: true });
    const tied = await openCheckpoint(dir);
    const without = { ...tied, tensors: new Map(tied.tensors), close: () => tied.close() };
    without.tensors.delete('lm_head.weight');
    const adapter = copyOfAdapter('patterns');
    await expect(withAdapters(without, [{ dir: adapter }])).rejects.toThrow(
      /lm_head\.weight is not there/,
    );
    await tied.close();
  });

  it('a weight other than 1 for whole tensors', async () => {
    const merged = merging([{ dir: lora('saved'), weight: 0.5 }], async () => {});
    await expect(merged).rejects.toThrow('weight must be 1');
  });

  it('another base model by its name is a warning', async () => {
    const dir = join(temporaryFolder(), 'base');
    await importModel(BASE, dir);
    const warnings = () =>
      merging([{ dir: lora('rslora') }], async (merged) => merged.warnings, {}, dir);
    expect(await warnings()).toEqual([]);
    editJson(join(dir, 'config.json'), { _name_or_path: 'owner/Tiny-Llama' });
    expect(await warnings()).toEqual([]);
    editJson(join(dir, 'config.json'), { _name_or_path: 'owner/other' });
    expect(await warnings()).toEqual([expect.stringMatching(/trained on tiny-llama.* is other/)]);
  });
});

describe('patterns of modules', () => {
  it.each([
    ['q_proj', 'model.layers.0.self_attn.q_proj', true],
    ['proj', 'model.layers.0.self_attn.q_proj', false],
    ['layers.1.self_attn.q_proj', 'model.layers.11.self_attn.q_proj', false],
    ['layers\\.\\d+\\.mlp\\..*', 'model.layers.7.mlp.up_proj', true],
    ['^model.layers.0.mlp.up_proj', 'model.layers.0.mlp.up_proj', true],
    ['^layers.0.mlp.up_proj', 'model.layers.0.mlp.up_proj', false],
    ['q_proj|v_proj', 'model.layers.0.self_attn.v_proj', true],
  ])('%s on %s: %s, as in PEFT', (pattern, module, fits) => {
    expect(patternOf(pattern, 'C').test(module)).toBe(fits);
  });
});
