import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { onTestFinished } from 'vitest';

/** A folder that goes away with the test, with the given files; those that start with `#!` can be run. */
export function folderOf(files: Readonly<Record<string, string>>): string {
  const dir = mkdtempSync(join(tmpdir(), 'sda-gpu-'));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(dir, name)), { recursive: true });
    writeFileSync(join(dir, name), text);
    if (text.startsWith('#!')) chmodSync(join(dir, name), 0o755);
  }
  return dir;
}

export interface FakeGpu {
  readonly name: string;
  readonly capability?: string;
  /** MiB */
  readonly total?: number | string;
  readonly free?: number | string;
}

/**
 * An environment whose PATH holds nothing but an nvidia-smi that answers as a machine with these GPUs.
 *
 * @param old the driver is one that does not know compute_cap
 */
export function withNvidiaSmi(
  gpus: readonly FakeGpu[],
  { driver = '570.86.15', cuda = '12.8', old = false } = {},
): NodeJS.ProcessEnv {
  const rows = gpus.map(({ name, capability = '9.0', total = 81559, free = 80000 }, index) => {
    const cells = [index, `GPU-${index}a-b`, name, total, free, driver];
    return [...cells, ...(old ? [] : [capability])].join(', ');
  });
  const script = `#!/bin/sh
case "$1" in
  *compute_cap*) ${old ? 'echo "Field \\"compute_cap\\" is not a valid field to query."; exit 2' : `echo '${rows.join('\n')}'`} ;;
  --query-gpu=*) echo '${rows.join('\n')}' ;;
  *) echo '| NVIDIA-SMI ${driver}    Driver Version: ${driver}    CUDA Version: ${cuda}  |' ;;
esac
`;
  return { PATH: folderOf({ 'nvidia-smi': script }) };
}
