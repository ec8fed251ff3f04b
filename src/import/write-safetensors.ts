import { open, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Checkpoint, TensorInfo } from '../checkpoint/checkpoint.js';
import { INDEX_FILE, SINGLE_FILE } from '../checkpoint/other-formats.js';
import { SdaError } from '../errors.js';

export interface WriteOptions {
  /** Most bytes of tensors in one file; a larger tensor has a file of its own */
  readonly maxShardBytes: number;
  readonly signal?: AbortSignal | undefined;
  readonly onBytes?: ((written: number, total: number) => void) | undefined;
}

/** Data begin at a multiple of this, as safetensors' own writer has it. */
const ALIGNMENT = 8;

/**
 * Writes tensors as safetensors, one tensor in memory at a time: `model.safetensors`, or shards with their index.
 * @param names in the order in which they are written
 * @returns the files' names
 * @throws SdaError `aborted`; what reading and node:fs throw
 */
export async function writeSafetensors(
  checkpoint: Checkpoint,
  names: readonly string[],
  dir: string,
  options: WriteOptions,
): Promise<readonly string[]> {
  const tensors = names.map((name): [string, TensorInfo] => [name, checkpoint.tensors.get(name)!]);
  const shards = intoShards(tensors, options.maxShardBytes);
  const files = shards.map((_, i) => shardName(i, shards.length));
  const sizes = tensors.map(([, { byteLength }]) => byteLength);
  const total = sizes.reduce((sum, size) => sum + size, 0);
  const scratch = new Uint8Array(Math.max(...sizes));
  let written = 0;
  for (const [i, shard] of shards.entries()) {
    const file = await open(join(dir, files[i]!), 'wx');
    try {
      await file.writeFile(headerOf(shard));
      for (const [name, { byteLength }] of shard) {
        if (options.signal?.aborted) throw new SdaError('aborted', 'The import was stopped.');
        await file.writeFile(await checkpoint.read(name, scratch.subarray(0, byteLength)));
        written += byteLength;
        options.onBytes?.(written, total);
      }
      await file.sync();
    } finally {
      await file.close();
    }
  }
  if (shards.length === 1) return files;
  const weightMap = shards.flatMap((shard, i) => shard.map(([name]) => [name, files[i]!] as const));
  const index = { metadata: { total_size: total }, weight_map: Object.fromEntries(weightMap) };
  await writeFile(join(dir, INDEX_FILE), `${JSON.stringify(index, null, 2)}\n`, { flag: 'wx' });
  return [...files, INDEX_FILE];
}

function shardName(index: number, count: number): string {
  const digits = (number: number) => String(number).padStart(5, '0');
  return count === 1 ? SINGLE_FILE : `model-${digits(index + 1)}-of-${digits(count)}.safetensors`;
}

type Tensors = [string, TensorInfo][];

function intoShards(tensors: Tensors, most: number): Tensors[] {
  const shards: Tensors[] = [[]];
  let size = 0;
  for (const tensor of tensors) {
    const [, { byteLength }] = tensor;
    if (size > 0 && size + byteLength > most) {
      shards.push([]);
      size = 0;
    }
    shards.at(-1)!.push(tensor);
    size += byteLength;
  }
  return shards;
}

/** The length of the header and the header, padded with spaces. */
function headerOf(tensors: Tensors): Uint8Array {
  let offset = 0;
  const entries = tensors.map(([name, { dtype, shape, byteLength }]) => {
    const begin = offset;
    offset += byteLength;
    return [name, { dtype, shape, data_offsets: [begin, offset] }] as const;
  });
  const json = JSON.stringify({ __metadata__: { format: 'pt' }, ...Object.fromEntries(entries) });
  const body = new TextEncoder().encode(json);
  const length = Math.ceil(body.length / ALIGNMENT) * ALIGNMENT;
  const header = new Uint8Array(8 + length).fill(0x20);
  new DataView(header.buffer).setBigUint64(0, BigInt(length), true);
  header.set(body, 8);
  return header;
}
