import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { openFolder } from '../../src/model/folder.js';
import { carriedCheckpoint } from '../../src/model/hub/carried.js';
import type { WeightDtype } from '../../src/model/load.js';
import { loadDecoder } from '../../src/model/load-model.js';
import { rowOrderOf } from '../../src/model/partial-rotation.js';
import { isQkv, stackedName } from '../../src/model/stacks.js';
import { dequantise, isQuantised } from '../../src/runtime/quantised.js';
import { relativeError } from '../support/close.js';
import { CARRIED, HUB, type HubName, hubDir, hubGolden, ROUNDED } from '../support/hub.js';
import { stepsAlone } from '../support/steps.js';
import { expectNoLeak, useTensorFlow } from '../support/tensorflow.js';

useTensorFlow();

const hashOf = (values: Float32Array) =>
  createHash('sha256')
    .update(new Uint8Array(values.buffer, values.byteOffset, values.byteLength))
    .digest('hex');

/** The largest difference of a run's logits from golden ones, relative to the largest. */
async function errorOf(name: HubName, dtype: WeightDtype, key: 'logits' | 'rounded') {
  const golden = hubGolden(name);
  return expectNoLeak(async () => {
    const model = await loadDecoder(hubDir(name), { dtype });
    const { prompt, ids } = golden;
    try {
      expect(model.warnings).toEqual([]);
      return relativeError(stepsAlone(model, prompt, ids).flat(), golden[key].flat());
    } finally {
      model.dispose();
    }
  });
}

describe.for(HUB)('%s', (name) => {
  it('is read as the weights that it stands for, to the bit', async () => {
    const { hub, checkpoint } = await openFolder(hubDir(name));
    const { weights } = hubGolden(name);
    expect([...hub!.matrices.keys()].sort()).toEqual(Object.keys(weights).sort());
    for (const [matrix, hash] of Object.entries(weights)) {
      expect(hashOf(await hub!.matrices.get(matrix)!.floats()), matrix).toBe(hash);
    }
    await checkpoint.close();
  });

  it('has the logits of these weights', async () => {
    expect(await errorOf(name, 'float32', 'logits')).toBeLessThan(1e-5);
  });
});

describe.for(CARRIED)('%s', (name) => {
  it('is carried by the kernels as it is, to the bit', async () => {
    const { config, hub, checked, checkpoint: plain } = await openFolder(hubDir(name));
    const { checkpoint, checked: carried } = carriedCheckpoint(config, hub!, checked);
    const matrices = carried.specs.filter(({ quantised }) => quantised);
    const parts = [...hub!.matrices.keys()].map(stackedName);
    expect(matrices.map((spec) => spec.name).sort()).toEqual([...new Set(parts)].sort());
    for (const { name: stack, quantised } of matrices) {
      const found = dequantise(await checkpoint.read(stack));
      const sources = [...hub!.matrices.keys()].filter((each) => stackedName(each) === stack);
      const expected: Uint8Array[] = [];
      for (const source of sources) expected.push(await plain.read(source));
      const rows = new Uint8Array(Buffer.concat(expected));
      if (isQkv(stack)) rowOrderOf(config)?.(rows, quantised!.rows);
      expect(Buffer.compare(Buffer.from(found.buffer), rows), stack).toBe(0);
    }
    await checkpoint.close();
  });

  it('has its logits, but for the 16 bits of activations', async () => {
    expect(await errorOf(name, 'auto', 'logits')).toBeLessThan(1.5e-4);
  });
});

describe.for(ROUNDED)('%s', (name) => {
  it('is rounded to the dtype of the model', async () => {
    expect(await errorOf(name, 'auto', 'rounded')).toBeLessThan(1e-5);
    const model = await loadDecoder(hubDir(name));
    expect(isQuantised(model.weights.layers[0]!.tensors.downProj)).toBe(false);
    model.dispose();
  });
});
