import { afterEach, describe, expect, test, vi } from 'vitest';
import { hasNativeKernel, loadNativeKernels, serving } from '../../src/runtime/native.js';
import { startTensorFlow } from '../../src/runtime/tensorflow.js';
import { errorOf } from '../setup/helpers.js';
import { folderOf } from '../support/fake-gpu.js';

const addon = (gpuOperations: string[], problem = '') => ({
  operations: ['A', 'B'],
  gpuOperations,
  gpuProblem: () => problem,
});

describe('the kernels that serve', () => {
  test('on the CPU are all of the addon, whatever forms it has for a GPU', () => {
    expect(serving(addon([], 'no driver'), 'cpu')).toEqual({
      operations: ['A', 'B'],
      problem: '',
    });
  });

  test('on a GPU are those with a form for it; others are named', () => {
    expect(serving(addon(['A', 'B']), 'gpu')).toEqual({ operations: ['A', 'B'], problem: '' });
    expect(serving(addon(['B']), 'gpu')).toEqual({
      operations: ['B'],
      problem: 'there is no form for the GPU of A',
    });
  });

  test('on a GPU are none of an addon that was built for the CPU, before and now', () => {
    const old = { operations: ['A'] };
    for (const one of [old, addon([])]) {
      const { operations, problem } = serving(one, 'gpu');
      expect(operations).toEqual([]);
      expect(problem).toContain('built for the CPU alone');
    }
  });

  test('on a GPU that their code does not run on are none, and the driver’s reason is given', () => {
    const reason = 'no kernel image is available for execution on the device';
    const { operations, problem } = serving(addon(['A', 'B'], reason), 'gpu');
    expect(operations).toEqual([]);
    expect(problem).toContain(reason);
  });
});

/** Stands in for the compiled addon: what `require` gives is all that counts here. */
function addonFile(text: string): string {
  return `${folderOf({ 'addon.cjs': `module.exports = ${text};` })}/addon.cjs`;
}

describe('SDA_KERNELS on a GPU', () => {
  afterEach(async () => {
    vi.unstubAllEnvs();
    loadNativeKernels((await startTensorFlow()).device);
  });
  const partly = () =>
    addonFile(`{ operations: ['A', 'B'], gpuOperations: ['B'], gpuProblem: () => '' }`);

  test('auto: a kernel with a GPU form is native, one without uses its reference', () => {
    vi.stubEnv('SDA_KERNELS', 'auto');
    expect(loadNativeKernels('gpu', partly())).toEqual({
      kernels: 'native',
      reason: 'there is no form for the GPU of A',
      operations: ['B'],
    });
    expect([hasNativeKernel('A'), hasNativeKernel('B')]).toEqual([false, true]);
    loadNativeKernels('cpu', partly());
    expect([hasNativeKernel('A'), hasNativeKernel('B')]).toEqual([true, true]);
  });

  test('auto: with an addon for the CPU alone all use their references', () => {
    vi.stubEnv('SDA_KERNELS', 'auto');
    const status = loadNativeKernels('gpu', addonFile(`{ operations: ['A'] }`));
    expect(status).toMatchObject({ kernels: 'reference', operations: [] });
    expect(hasNativeKernel('A')).toBe(false);
  });

  test('native: insists on a GPU form of every kernel', async () => {
    vi.stubEnv('SDA_KERNELS', 'native');
    const error = await errorOf((async () => loadNativeKernels('gpu', partly()))());
    expect(error.message).toBe('SDA_KERNELS=native, but there is no form for the GPU of A.');
  });
});
