import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { loadConfig } from '../../src/model/config.js';
import { loadDecoder } from '../../src/model/load-model.js';
import { checkPlan, type MemoryPlan, planMemory } from '../../src/model/memory-plan.js';
import { availableMemory } from '../../src/runtime/memory.js';
import { checkpointDir } from '../support/checkpoints.js';
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
    expect(planMemory(config, { weights: 1000, available: plan.total - 1 }).fits).toBe(false);
    expect(planMemory(config, { weights: 0, available: 0 }).context).toBe(128); // the model's own
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
    expect(plans[1]!.weights).toBe(2 * plans[0]!.weights); // stored as float16, vectors too
  });

  it('refuses what does not fit, with the numbers and what to do, before anything is read', async () => {
    const dir = copyOf('tiny-llama');
    const context = 2 ** 31 - 1;
    editJson(join(dir, 'config.json'), { max_position_embeddings: context });
    const error = await errorOf(() => loadDecoder(dir, { maxContext: context }));
    expect(error).toMatchObject({
      code: 'out-of-memory',
      message: expect.stringMatching(
        /KV cache 1649\.3 GB \(2 streams of 2147483647 tokens\).*--context.*\.$/,
      ),
    });
    const model = await loadDecoder(dir, { maxContext: context, memoryCheck: false });
    model.dispose();
    const plan = planMemory(model.config, { weights: 1, available: 1e12 });
    expect(() => checkPlan(plan, dir)).not.toThrow();
  });

  it('knows how much memory is free', () => {
    expect(availableMemory()).toBeGreaterThan(100e6);
    expect(availableMemory()).toBeLessThan(1e15);
  });
});
