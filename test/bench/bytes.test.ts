import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { kvBytesRead, weightBytesRead } from '../../src/bench/bytes.js';
import { loadModel, type SdaModel } from '../../src/index.js';
import { isQuantised, quantisedBytesOf } from '../../src/runtime/quantised.js';
import { checkpointDir } from '../support/checkpoints.js';

describe('bytes that a step reads', () => {
  let untied: SdaModel;
  let tied: SdaModel;
  beforeAll(async () => {
    untied = await loadModel(checkpointDir('tiny-llama'), { dtype: 'bfloat16' });
    tied = await loadModel(checkpointDir('tiny-llama-tied'), { dtype: 'float32' });
  });
  afterAll(() => {
    untied.dispose();
    tied.dispose();
  });

  /** From the architecture alone: 2 or 4 bytes a matrix element, 4 a vector element. */
  function expected({ config }: SdaModel, bytes: number): number {
    const { hiddenSize: h, intermediateSize: i, numHeads, numKeyValueHeads, headDim: d } = config;
    const matrices = (2 * numHeads + 2 * numKeyValueHeads) * d * h + 3 * i * h;
    return config.numLayers * (bytes * matrices + 4 * 2 * h) + 4 * h + bytes * config.vocabSize * h;
  }

  it('are the matrices and norms once, the head included', () => {
    expect(weightBytesRead(untied.decoder.weights)).toBe(expected(untied, 2));
    expect(weightBytesRead(tied.decoder.weights)).toBe(expected(tied, 4));
  });

  it.each(['int8', 'int4'] as const)('are what %s matrices are on the device', async (dtype) => {
    const model = await loadModel(checkpointDir('tiny-llama'), { dtype });
    const { layers, norm, lmHead } = model.decoder.weights;
    const tensors = layers.flatMap((layer) => Object.values({ ...layer.tensors }));
    const sizes = [...tensors, norm, lmHead].map((tensor) => {
      if (!tensor) return 0;
      return isQuantised(tensor) ? quantisedBytesOf(tensor).byteLength : 4 * tensor.size;
    });
    expect(weightBytesRead(model.decoder.weights)).toBe(sizes.reduce((sum, each) => sum + each));
    model.dispose();
  });

  it('and the keys and values of what each stream attends to, as a mean over the steps', () => {
    const { config } = untied;
    const position = 2 * config.numLayers * config.numKeyValueHeads * config.headDim * 4;
    // 3 tokens: 2 decode steps, which attend to 11 and 12 positions, and to 21 and 22
    expect(kvBytesRead(config, [10], 3, 'float32')).toBe(11.5 * position);
    expect(kvBytesRead(config, [10, 20], 3, 'float32')).toBe((11.5 + 21.5) * position);
    expect(kvBytesRead(config, [10], 3, 'bfloat16')).toBe((11.5 * position) / 2);
  });
});
