import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { packageRoot } from '../../src/runtime/paths.js';

/** Builds the kernels with their checks and runs them on the CPU; see run.mjs. */
test('the CUDA kernels have the float64 results when emulated', { timeout: 900_000 }, async () => {
  const script = join(packageRoot(), 'test', 'cuda', 'run.mjs');
  const { stdout } = await promisify(execFile)(process.execPath, [script, '--emulate']);
  const [, passed, failed] = /(\d+) passed, (\d+) failed\n$/.exec(stdout)!;
  expect(Number(passed)).toBeGreaterThan(1000);
  expect(Number(failed)).toBe(0);
});
