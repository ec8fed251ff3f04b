import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { packageRoot } from '../../src/runtime/paths.js';
import { startTensorFlow } from '../../src/runtime/tensorflow.js';
import { WITHOUT_NATIVE } from '../support/native.js';

/** Operations that the sources name for a device. */
function namedOperations(device: 'cpu' | 'gpu'): string[] {
  const [file, macro] =
    device === 'gpu' ? ['op_gpu.cc', 'SDA_GPU_OPERATION'] : ['op.cc', 'SDA_OPERATION'];
  const root = join(packageRoot(), 'kernels');
  return readdirSync(root, { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith(`/${file}`))
    .flatMap((path) => [
      ...readFileSync(join(root, path), 'utf8').matchAll(new RegExp(`^${macro}\\((\\w+)\\)`, 'gm')),
    ])
    .map(([, name]) => name!);
}

test('the native kernels are what runs, every one of them', async ({ skip }) => {
  skip(...WITHOUT_NATIVE);
  const { device, kernels, reason, operations } = await startTensorFlow();
  expect({ kernels, reason }).toEqual({ kernels: 'native', reason: '' });
  expect(operations).toContain('SdaStep');
  expect([...operations].sort()).toEqual(namedOperations(device).sort());
});
