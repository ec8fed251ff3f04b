import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { packageRoot } from './paths.js';

const runtimeSchema = z.object({
  tensorflowDir: z.string(),
  tensorflowVersion: z.string(),
  /** The TensorFlow with CUDA libraries; null for a folder of the user's own. */
  gpu: z.boolean().nullable(),
  /** Cache key of the native kernels; null when none were built. */
  kernelsKey: z.string().nullable(),
  builtAt: z.string(),
  compiler: z.string(),
  flags: z.array(z.string()),
  /** The nvcc that built the kernels for GPUs; null when they are for the CPU alone. */
  nvcc: z.string().nullable().default(null),
});

/** What the last set-up built against. */
export type RuntimeFile = z.infer<typeof runtimeSchema>;

/** Where set-up records what it built against. */
export function runtimeFilePath(root: string = packageRoot()): string {
  return join(root, 'build', 'runtime.json');
}

/** What the last set-up recorded; `undefined` when there was none. */
export function readRuntimeFile(root: string = packageRoot()): RuntimeFile | undefined {
  try {
    return runtimeSchema.parse(JSON.parse(readFileSync(runtimeFilePath(root), 'utf8')));
  } catch {
    return undefined;
  }
}
