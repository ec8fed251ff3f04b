import { join } from 'node:path';
import { expect, test } from 'vitest';
import { openCheckpoint } from '../../src/checkpoint/checkpoint.js';
import { loadConfig } from '../../src/model/config.js';
import { checkTensors } from '../../src/model/families.js';
import { loadDecoder } from '../../src/model/load-model.js';
import { plannedWeights } from '../../src/model/memory-plan.js';
import { deviceDtype } from '../../src/runtime/backend.js';
import { golden } from '../support/checkpoints.js';
import { copyOf, editJson } from '../support/folders.js';
import { rewriteTensors, stored } from '../support/safetensors.js';
import { expectSteps, stepsAlone } from '../support/steps.js';
import { expectNoLeak, useTensorFlow } from '../support/tensorflow.js';
import { TOLERANCE } from '../support/tolerances.js';

useTensorFlow();

const DTYPES = ['F32', 'BF16', 'F16'] as const;
const STACKS = [
  ['q_proj', 'k_proj', 'v_proj'],
  ['gate_proj', 'up_proj'],
];

// tiny-qwen3 is bfloat16: other types hold its values as well, so transformers' logits stay what they are
const cases = STACKS.flatMap((stack) =>
  stack.flatMap((projection) =>
    DTYPES.flatMap((one) =>
      DTYPES.filter((rest) => rest !== one).map((rest) => ({ stack, projection, one, rest })),
    ),
  ),
);

test.each(cases)('$projection in $one, the others of $stack in $rest', async (each) => {
  const dir = copyOf('tiny-qwen3');
  await rewriteTensors(dir, (tensor) => {
    if (!each.stack.some((name) => tensor.name.includes(`.${name}.`))) return tensor;
    return stored(tensor, tensor.name.includes(`.${each.projection}.`) ? each.one : each.rest);
  });
  const { prompt, ids, logits } = golden('tiny-qwen3').greedy;
  for (const dtype of ['auto', 'float32'] as const) {
    await expectNoLeak(async () => {
      const model = await loadDecoder(dir, { dtype });
      expectSteps(stepsAlone(model, prompt, ids), logits, TOLERANCE.logits);
      const { qkvProj, gateUpProj } = model.weights.layers[0]!.tensors;
      const mixed = each.stack.includes('q_proj') ? qkvProj : gateUpProj;
      expect(deviceDtype(mixed)).toBe('float32');
      model.dispose();
    });
  }
});

test('norms and biases in types of their own', async () => {
  const dir = copyOf('tiny-qwen3');
  await rewriteTensors(dir, (tensor) =>
    tensor.shape.length > 1
      ? tensor
      : stored(tensor, tensor.name.includes('q_norm') ? 'F16' : 'F32'),
  );
  const { prompt, ids, logits } = golden('tiny-qwen3').greedy;
  const model = await loadDecoder(dir);
  expectSteps(stepsAlone(model, prompt, ids), logits, TOLERANCE.logits);
  model.dispose();
});

test('a mixed stack is asked for in 16 bits: all of it is', async () => {
  const dir = copyOf('tiny-qwen3');
  await rewriteTensors(dir, (tensor) =>
    tensor.name.includes('k_proj') ? stored(tensor, 'F32') : tensor,
  );
  const { prompt, ids, logits } = golden('tiny-qwen3').greedy;
  const model = await loadDecoder(dir, { dtype: 'bfloat16' });
  expect(deviceDtype(model.weights.layers[0]!.tensors.qkvProj)).toBe('bfloat16');
  expectSteps(stepsAlone(model, prompt, ids), logits, TOLERANCE.logits); // it holds the values exactly
  model.dispose();
});

test('the memory plan counts a mixed stack in float32', async () => {
  const planned = async (dir: string) => {
    const [config, checkpoint] = [await loadConfig(dir), await openCheckpoint(dir)];
    await checkpoint.close();
    const checked = checkTensors(config, checkpoint.tensors, dir);
    return plannedWeights(checked, checkpoint.tensors, 'auto');
  };
  const dir = copyOf('tiny-qwen3');
  const before = await planned(dir);
  const { hiddenSize, headDim, numHeads, numKeyValueHeads } = await loadConfig(dir);
  await rewriteTensors(dir, (tensor) =>
    tensor.name.includes('layers.1.self_attn.v_proj') ? stored(tensor, 'F16') : tensor,
  );
  const stack = (numHeads + 2 * numKeyValueHeads) * headDim * hiddenSize;
  expect(await planned(dir)).toBe(before + 2 * stack);
});

test('an optional tensor that the family has not is said to be ignored, and is', async () => {
  const dir = copyOf('tiny-qwen3');
  const model = await loadDecoder(dir);
  const { prompt, ids } = golden('tiny-qwen3').greedy;
  // as a llama of the same sizes, with and without the norms of its heads
  editJson(join(dir, 'config.json'), { model_type: 'llama', architectures: ['LlamaForCausalLM'] });
  model.dispose();
  const withNorms = await loadDecoder(dir);
  expect(withNorms.warnings.join()).toMatch(/4 tensors that are ignored: .*[qk]_norm/);
  expect(withNorms.weights.layers[0]!.tensors.queryNorm).toBeUndefined();
  const found = stepsAlone(withNorms, prompt, ids);
  withNorms.dispose();
  await rewriteTensors(dir, (tensor) => (/[qk]_norm/.test(tensor.name) ? [] : tensor));
  const without = await loadDecoder(dir);
  expect(without.warnings).toEqual([]);
  expect(stepsAlone(without, prompt, ids)).toEqual(found);
  without.dispose();
});
