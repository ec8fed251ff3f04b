import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { loadConfig } from '../../src/model/config.js';
import { loadDecoder } from '../../src/model/load-model.js';
import { checkMemory, type MemoryPlan, planMemory } from '../../src/model/memory-plan.js';
import { availableMemory, hostMemory, modelMemory } from '../../src/runtime/memory.js';
import { checkpointDir } from '../support/checkpoints.js';
import { withNvidiaSmi } from '../support/fake-gpu.js';
import { copyOf, editJson } from '../support/folders.js';
import { errorOf, useTensorFlow } from '../support/tensorflow.js';

useTensorFlow();

describe('the memory plan', () => {
  it('adds weights, keys and values of both streams, and working memory', async () => {
    const config = await loadConfig(checkpointDir('tiny-llama'));
    const plan = planMemory(config, { weights: 1000, available: 2e9, context: 100 });
    // 2 streams, 100 tokens, keys and values, 2 layers, 2 heads of 12, float32
    expect(plan.kvCache).toBe(2 * 100 * 2 * 2 * 2 * 12 * 4);
    expect(plan.total).toBe(1000 + plan.kvCache + plan.work);
    expect(plan.fits).toBe(true);
    const needs = { weights: 1000, available: 2e9, context: 100 };
    const narrow = planMemory(config, { ...needs, kv: 'bfloat16' });
    expect(narrow.kvCache).toBe(plan.kvCache / 2);
    expect(narrow.total).toBe(plan.total - narrow.kvCache);
    expect(planMemory(config, { weights: 1000, available: plan.total - 1 }).fits).toBe(false);
    expect(planMemory(config, { weights: 0, available: 0 }).context).toBe(128); // the model's own
  });

  it('counts the streams of all queries that run at once; a prompt is run by itself', async () => {
    const config = await loadConfig(checkpointDir('tiny-llama'));
    const needs = { weights: 1000, available: 2e9, context: 100 };
    const one = planMemory(config, needs);
    expect(planMemory(config, { ...needs, streams: 2, batch: 1 })).toEqual(one);
    expect(one.streams).toBe(2);
    const many = planMemory(config, { ...needs, batch: 8 });
    expect(many.streams).toBe(16);
    expect(many.kvCache).toBe(8 * one.kvCache);
    expect(many.work - one.work).toBe(4 * 14 * 4 * config.vocabSize); // logits of 14 more streams
    const plain = planMemory(config, { ...needs, streams: 1 });
    expect(plain.streams).toBe(1);
    expect(plain.kvCache).toBe(one.kvCache / 2);
    expect(plain.work).toBeLessThan(one.work);
    // more lines in a step than in a chunk of two prompts
    const lineBytes = 4 * (4 * config.hiddenSize + 3 * config.intermediateSize);
    const huge = planMemory(config, { ...needs, batch: 1024 });
    expect(huge.work - one.work).toBe(1024 * lineBytes + 4 * 2046 * 4 * config.vocabSize);
    const check = (batch: number) => () =>
      checkMemory(config, { ...needs, available: many.total, batch }, 'DIR');
    expect(check(8)).not.toThrow();
    expect(check(9)).toThrow(/\(18 streams of 100 tokens\).*fewer answers at once/);
    const alone = () => checkMemory(config, { ...needs, available: 1, streams: 1 }, 'DIR');
    expect(alone).toThrow(/\(1 stream of 100 tokens\)/);
  });

  it('of a checkpoint counts what it stores, or what is asked for', async () => {
    const plans: MemoryPlan[] = [];
    for (const dtype of ['auto', 'float32'] as const) {
      const model = await loadDecoder(checkpointDir('tiny-qwen2'), {
        dtype,
        maxContext: 7,
        onPlan: (plan) => plans.push(plan),
      });
      model.dispose();
    }
    expect(plans.map(({ context }) => context)).toEqual([7, 7]);
    // matrices stored as float16; of the vectors (norms and q, k, v biases of 3 layers, the last norm) every element has 4 bytes
    const vectors = 4 * (3 * (2 * 48 + 48 + 2 * 24) + 48);
    expect(plans[1]!.weights - vectors).toBe(2 * (plans[0]!.weights - vectors));
    expect(plans[0]!.weights).toBe(
      2 * (97 * 48 + 3 * (2 * 48 * 48 + 2 * 24 * 48 + 3 * 48 * 80)) + vectors,
    );
  });

  it('refuses what does not fit, with the numbers and what to do, before anything is read', async () => {
    const dir = copyOf('tiny-llama');
    const context = 2 ** 31 - 1;
    editJson(join(dir, 'config.json'), { max_position_embeddings: context });
    const error = await errorOf(() => loadDecoder(dir, { maxContext: context }));
    expect(error).toMatchObject({
      code: 'out-of-memory',
      message: expect.stringMatching(
        /KV cache 1649\.3 GB \(2 streams of 2147483647 tokens\).*--context.*--kv bfloat16.*\.$/,
      ),
    });
    const narrow = await errorOf(() => loadDecoder(dir, { maxContext: context, kv: 'bfloat16' }));
    expect(String(narrow)).toMatch(/KV cache 824\.6 GB/);
    expect(String(narrow)).not.toMatch(/--kv/);
    const model = await loadDecoder(dir, { maxContext: context, memoryCheck: false });
    model.dispose();
  });

  it('asks for a short context where none is given, for all of one that is', async () => {
    const config = {
      ...(await loadConfig(checkpointDir('tiny-llama'))),
      contextLength: 8192,
    };
    const available = planMemory(config, { weights: 1, available: 0, context: 512 }).total;
    const check = (options: object) => () =>
      checkMemory(config, { weights: 1, available, ...options }, 'DIR');
    expect(check({})).not.toThrow();
    expect(check({ available: available - 1 })).toThrow(/2 streams of 512 tokens/);
    expect(check({ context: 513 })).toThrow(/2 streams of 513 tokens/);
    expect(check({ context: 100, available: available - 1 })).not.toThrow();
  });

  it('on a GPU counts what CUDA takes and the largest matrix widened, and names the GPU', async () => {
    const config = await loadConfig(checkpointDir('tiny-llama'));
    const needs = { weights: 1000, available: 1e9, context: 100 };
    const host = planMemory(config, needs);
    const device = planMemory(config, { ...needs, device: 'NVIDIA H100' });
    expect(device.kvCache).toBe(host.kvCache);
    const largest = Math.max(
      config.vocabSize * config.hiddenSize,
      config.intermediateSize * config.hiddenSize,
    );
    expect(device.work - host.work).toBe(800e6 - 400e6 + 4 * largest);
    const check = () => checkMemory(config, { ...needs, available: 1e6, device: 'T4' }, 'DIR');
    expect(check).toThrow(/with 1 MB free on T4; .*CUDA_VISIBLE_DEVICES/);
  });

  it('takes the memory of a GPU where TensorFlow is set up for one and the driver tells it', async () => {
    const gpu = { name: 'Tesla T4', total: 15360, free: 15000 };
    const env = withNvidiaSmi([gpu]);
    const onDevice = { place: 'device', available: 15000 * 2 ** 20, device: 'Tesla T4' };
    expect(await modelMemory({ env }, true)).toEqual(onDevice);
    const host = { ...hostMemory(), available: expect.any(Number) };
    expect(await modelMemory({ env }, false)).toEqual(host);
    expect(await modelMemory({ env: { ...env, CUDA_VISIBLE_DEVICES: '' } }, true)).toEqual(host);
    const silent = withNvidiaSmi([{ name: 'GB10', total: '[N/A]', free: '[N/A]' }]);
    expect(await modelMemory({ env: silent }, true)).toEqual(host);
  });

  it('knows how much memory is free', () => {
    expect(availableMemory()).toBeGreaterThan(100e6);
    expect(availableMemory()).toBeLessThan(1e15);
  });
});
