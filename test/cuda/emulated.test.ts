import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { findGpus } from '../../src/runtime/gpu.js';
import { packageRoot } from '../../src/runtime/paths.js';

/** Builds the kernels with their checks and runs them; see run.mjs. */
async function runChecks(...options: string[]): Promise<void> {
  const script = join(packageRoot(), 'test', 'cuda', 'run.mjs');
  const { stdout } = await promisify(execFile)(process.execPath, [script, ...options]);
  const [, passed, failed] = /(\d+) passed, (\d+) failed\n$/.exec(stdout)!;
  expect(Number(passed)).toBeGreaterThan(1000);
  expect(Number(failed)).toBe(0);
}

test('the CUDA kernels have the float64 results when emulated', { timeout: 900_000 }, async () => {
  await runChecks('--emulate');
});

test('the CUDA kernels have the float64 results on a GPU', { timeout: 900_000 }, async ({
  skip,
}) => {
  const { gpus, reason } = await findGpus();
  skip(gpus.length === 0, `there is no GPU: ${reason}`);
  await runChecks();
});
