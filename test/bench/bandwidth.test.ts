import { memory } from '@tensorflow/tfjs-core';
import { describe, expect, test } from 'vitest';
import { BandwidthProbe, bestProbe } from '../../src/bench/bandwidth.js';
import { describeGpu } from '../../src/bench/environment.js';
import { withNvidiaSmi } from '../support/fake-gpu.js';
import { useTensorFlow } from '../support/tensorflow.js';

useTensorFlow();

describe('the probes', () => {
  test.each([
    ['cpu', ['scan', 'linear', 'sum']],
    ['gpu', ['linear', 'sum', 'copy']],
  ] as const)('of a %s give bytes a second and leave nothing', async (device, names) => {
    const before = memory().numTensors;
    const probe = await BandwidthProbe.open(1, 2 ** 20, device);
    const results = await probe.measure();
    await probe.dispose();
    expect(Object.keys(results)).toEqual(names);
    for (const rate of Object.values(results)) {
      expect(rate).toBeGreaterThan(1e6);
      expect(rate).toBeLessThan(1e13);
    }
    expect(memory().numTensors).toBe(before);
  });

  test('give the limit by the best median', () => {
    const rounds = [
      { linear: 5, sum: 1, copy: 4 },
      { linear: 1, sum: 9, copy: 4 },
      { linear: 1, sum: 2, copy: 4 },
    ];
    expect(bestProbe(rounds)).toBe('copy');
  });
});

describe('the GPU of a measurement', () => {
  test('has name, memory, compute capability and driver', async () => {
    const env = withNvidiaSmi([{ name: 'NVIDIA L4', capability: '8.9', total: 23034 }]);
    expect(await describeGpu({ env })).toEqual({
      name: 'NVIDIA L4',
      computeCapability: '8.9',
      memoryBytes: 23034 * 2 ** 20,
      driver: '570.86.15',
    });
  });

  test('is unknown where the driver tells nothing', async () => {
    const nowhere = { env: { PATH: '' }, root: '/nonexistent' };
    expect(await describeGpu(nowhere)).toMatchObject({ name: 'unknown GPU', memoryBytes: null });
  });
});
