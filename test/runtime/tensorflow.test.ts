import { expect, test } from 'vitest';
import { executeOp } from '../../src/runtime/backend.js';
import { startTensorFlow } from '../../src/runtime/tensorflow.js';

test('what TensorFlow refuses is thrown, whatever it logs', async () => {
  await startTensorFlow();
  expect(process.env.TF_CPP_MIN_LOG_LEVEL).toBeDefined();
  expect(() => executeOp('NoSuchOp', [], [])).toThrow(/NoSuchOp/);
});
