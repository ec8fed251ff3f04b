import fs, { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import promises from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll } from 'vitest';
import { type Json, joined } from './mutate.js';

/** A folder for the files of a run, removed after it. */
export const root = mkdtempSync(join(tmpdir(), 'sda-fuzz-'));
afterAll(() => {
  rmSync(root, { recursive: true, force: true });
});

export const utf8 = (text: string) => new TextEncoder().encode(text);
export const json = (file: string) => JSON.parse(readFileSync(file, 'utf8')) as Json;
export const fresh = (value: Json): Json => JSON.parse(JSON.stringify(value)) as Json;

/** A small safetensors file: header JSON, and data. */
export const HEADER: Json = {
  __metadata__: { format: 'pt' },
  a: { dtype: 'F32', shape: [2, 3], data_offsets: [0, 24] },
  'model.b.weight': { dtype: 'BF16', shape: [4], data_offsets: [24, 32] },
  empty: { dtype: 'F16', shape: [0, 7], data_offsets: [32, 32] },
  unknown: { dtype: 'Q4_K', shape: [9], data_offsets: [32, 37] },
};
export const DATA = new Uint8Array(37).fill(7);

/** A file of its three parts; `claimed` stands as the length of its header. */
export function fileOf(body: Uint8Array, data: Uint8Array, claimed = BigInt(body.length)) {
  const length = new Uint8Array(8);
  new DataView(length.buffer).setBigUint64(0, claimed, true);
  return joined(length, body, data);
}

/** The paths that `body` opens or reads. */
export async function pathsOpened(body: () => Promise<unknown>): Promise<readonly string[]> {
  const paths: string[] = [];
  const undo: (() => void)[] = [];
  const watch = <T extends object>(module: T, names: readonly (keyof T)[]) => {
    for (const name of names) {
      const original = module[name] as (path: unknown, ...rest: unknown[]) => unknown;
      module[name] = ((path: unknown, ...rest: unknown[]) => {
        paths.push(String(path));
        return original.call(module, path, ...rest);
      }) as T[keyof T];
      undo.push(() => {
        module[name] = original as T[keyof T];
      });
    }
  };
  watch(promises, ['open', 'readFile']);
  watch(fs, ['open', 'openSync', 'readFile', 'readFileSync', 'createReadStream']);
  syncBuiltinESMExports();
  try {
    await body();
  } finally {
    for (const restore of undo) restore();
    syncBuiltinESMExports();
  }
  return paths;
}
