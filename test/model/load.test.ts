import { cp, open, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { LoadProgress } from '../../src/model/load.js';
import { type LoadedDecoder, loadDecoder } from '../../src/model/load-model.js';
import { deviceDtype } from '../../src/runtime/backend.js';
import { temporaryFolder } from '../checkpoint/build.js';
import { type CheckpointName, checkpointDir } from '../support/checkpoints.js';
import { errorOf, expectNoLeak, useTensorFlow } from '../support/tensorflow.js';

useTensorFlow();

/** A copy of a checkpoint that a test may damage. */
async function copyOf(name: CheckpointName): Promise<string> {
  const dir = await temporaryFolder();
  await cp(checkpointDir(name), dir, { recursive: true });
  return dir;
}

async function editConfig(dir: string, change: Record<string, unknown>): Promise<void> {
  const file = join(dir, 'config.json');
  const config = JSON.parse(await readFile(file, 'utf8')) as Record<string, unknown>;
  await writeFile(file, JSON.stringify({ ...config, ...change }));
}

const matricesOf = ({ weights }: LoadedDecoder) => [
  weights.embedTokens,
  weights.lmHead,
  ...weights.layers.flatMap(({ tensors: layer }) => [
    layer.qkvProj,
    layer.oProj,
    layer.gateUpProj,
    layer.downProj,
  ]),
];
const vectorsOf = ({ weights }: LoadedDecoder) =>
  [
    weights.norm,
    ...weights.layers.flatMap(({ tensors: layer }) => [
      ...[layer.inputNorm, layer.attentionOutputNorm, layer.mlpNorm, layer.mlpOutputNorm],
      ...[layer.qkvBias, layer.queryNorm, layer.keyNorm],
    ]),
  ].filter((tensor) => tensor !== undefined);

describe('loadDecoder', () => {
  test.each<[CheckpointName, 'auto' | 'float32' | 'bfloat16' | 'float16', string]>([
    ['tiny-llama', 'auto', 'float32'],
    ['tiny-llama-tied', 'auto', 'bfloat16'],
    ['tiny-qwen2', 'auto', 'float16'],
    ['tiny-qwen3', 'auto', 'bfloat16'],
    ['tiny-qwen2', 'float32', 'float32'],
    ['tiny-qwen3', 'float16', 'float16'],
    ['tiny-llama', 'bfloat16', 'bfloat16'],
    ['tiny-phi3', 'auto', 'bfloat16'],
    ['tiny-granite', 'auto', 'bfloat16'],
    ['tiny-olmo2', 'float16', 'float16'],
  ])('%s with dtype %s: matrices are %s, vectors float32', async (name, dtype, expected) => {
    await expectNoLeak(async () => {
      const model = await loadDecoder(checkpointDir(name), { dtype });
      expect(new Set(matricesOf(model).map(deviceDtype))).toEqual(new Set([expected]));
      expect(new Set(vectorsOf(model).map(deviceDtype))).toEqual(new Set(['float32']));
      model.dispose();
      model.dispose(); // twice is once
    });
  });

  test('stacks projections and keeps a tied head as one tensor', async () => {
    const tied = await loadDecoder(checkpointDir('tiny-qwen2'));
    const { hiddenSize, intermediateSize, headDim } = tied.config;
    expect(tied.weights.lmHead).toBe(tied.weights.embedTokens);
    const layer = tied.weights.layers[0]?.tensors;
    expect(layer!.qkvProj.shape).toEqual([(4 + 2 * 2) * headDim, hiddenSize]);
    expect(layer!.qkvBias!.shape).toEqual([(4 + 2 * 2) * headDim]);
    expect(layer!.gateUpProj.shape).toEqual([2 * intermediateSize, hiddenSize]);
    expect(layer!.oBias).toBeUndefined();
    tied.dispose();
    const untied = await loadDecoder(checkpointDir('tiny-llama'));
    expect(untied.weights.lmHead).not.toBe(untied.weights.embedTokens);
    expect(untied.weights.layers[0]!.tensors.qkvBias).toBeUndefined();
    untied.dispose();
  });

  test('says how far it is', async () => {
    const seen: LoadProgress[] = [];
    const onProgress = (progress: LoadProgress) => seen.push(progress);
    const model = await loadDecoder(checkpointDir('tiny-qwen3'), { onProgress });
    model.dispose();
    const last = seen.at(-1)!;
    expect(last.bytesRead).toBe(last.bytesTotal);
    expect(seen.every(({ bytesRead }, i) => i === 0 || bytesRead > seen[i - 1]!.bytesRead)).toBe(
      true,
    );
    expect(seen.map(({ tensor }) => tensor)).toContain('model.layers.1.self_attn.q_norm.weight');
  });

  test('an abort stops it and leaves nothing', async () => {
    const controller = new AbortController();
    const error = await expectNoLeak(() =>
      errorOf(() =>
        loadDecoder(checkpointDir('tiny-llama'), {
          signal: controller.signal,
          onProgress: ({ tensor }) => {
            if (tensor.includes('layers.1.')) controller.abort();
          },
        }),
      ),
    );
    expect(error).toMatchObject({
      code: 'aborted',
      message: 'Loading was stopped before the model was complete.',
    });
  });

  test('a missing folder', async () => {
    const dir = join(await temporaryFolder(), 'none');
    const error = await errorOf(() => loadDecoder(dir));
    expect(error).toMatchObject({ code: 'file-missing', message: expect.stringContaining(dir) });
  });

  test('a folder without weights', async () => {
    const dir = await temporaryFolder();
    await cp(join(checkpointDir('tiny-llama'), 'config.json'), join(dir, 'config.json'));
    const error = await errorOf(() => loadDecoder(dir));
    expect(error).toMatchObject({
      code: 'file-missing',
      message: expect.stringContaining('safetensors'),
    });
  });

  test('a truncated file is named, and nothing is left', async () => {
    const dir = await copyOf('tiny-qwen2');
    const path = join(dir, 'model.safetensors');
    const file = await open(path, 'r+');
    await file.truncate((await file.stat()).size - 100);
    await file.close();
    const error = await expectNoLeak(() => errorOf(() => loadDecoder(dir)));
    expect(error).toMatchObject({ code: 'bad-file', message: expect.stringContaining(path) });
  });

  test('a missing shard is named', async () => {
    const dir = await temporaryFolder();
    await cp(checkpointDir('tiny-qwen3'), dir, {
      recursive: true,
      filter: (source) => !source.endsWith('00002-of-00002.safetensors'),
    });
    const error = await errorOf(() => loadDecoder(dir));
    expect(error).toMatchObject({
      code: 'file-missing',
      message: expect.stringContaining('model-00002-of-00002.safetensors'),
    });
  });

  test('a wrong shape is named with what is expected and found', async () => {
    const dir = await copyOf('tiny-llama');
    await editConfig(dir, { intermediate_size: 81 });
    const error = await expectNoLeak(() => errorOf(() => loadDecoder(dir)));
    expect(error).toMatchObject({ code: 'bad-tensor' });
    expect(error.message).toContain('model.layers.0.mlp.gate_proj.weight');
    expect(error.message).toContain('[80, 48]');
    expect(error.message).toContain('[81, 48]');
  });

  test('a layer too many is a missing tensor', async () => {
    const dir = await copyOf('tiny-llama');
    await editConfig(dir, { num_hidden_layers: 3 });
    const error = await errorOf(() => loadDecoder(dir));
    expect(error).toMatchObject({
      code: 'bad-tensor',
      message: expect.stringContaining('model.layers.2.'),
    });
  });
});
