import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';

/** A file of header text (any bytes) and data bytes; the length defaults to the header's own. */
export function buildFile(
  header: string | Uint8Array,
  data: Uint8Array | number = 0,
  length?: bigint,
): Uint8Array {
  const body = typeof header === 'string' ? new TextEncoder().encode(header) : header;
  const bytes = typeof data === 'number' ? new Uint8Array(data) : data;
  const file = new Uint8Array(8 + body.length + bytes.length);
  new DataView(file.buffer).setBigUint64(0, length ?? BigInt(body.length), true);
  file.set(body, 8);
  file.set(bytes, 8 + body.length);
  return file;
}

/** A header entry. */
export function entry(dtype: string, shape: readonly unknown[], begin: unknown, end: unknown) {
  return { dtype, shape, data_offsets: [begin, end] };
}

/** A folder of its own for one test, removed after it. */
export async function temporaryFolder(
  files: Readonly<Record<string, string | Uint8Array>> = {},
): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'sda-test-'));
  onTestFinished(() => rm(dir, { recursive: true, force: true }));
  for (const [name, content] of Object.entries(files)) await writeFile(join(dir, name), content);
  return dir;
}
