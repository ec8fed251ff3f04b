import { createHash, type Hash } from 'node:crypto';
import { type FileHandle, open, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { messageOf, SdaError } from '../errors.js';
import { openCheckpoint, type TensorInfo } from './checkpoint.js';
import { readBytesIfPresent } from './json-file.js';
import { readFully } from './safetensors.js';

/** Files beside the weights that decide what a checkpoint says. */
const DECIDING =
  /^(config|generation_config|tokenizer|tokenizer_config|special_tokens_map)\.json$|\.jinja$/;

/** Bytes of one sample of a tensor, and how many samples are spread over it, its ends among them. */
const BLOCK_BYTES = 4096;
const BLOCKS = 4;

/**
 * A short SHA-256 that tells checkpoints apart: over the configuration, the tokenizer, and of each tensor its name, type
 * and shape and 4 samples of its values, 4 KiB each. All of a small tensor is covered; two checkpoints that differ
 * between the samples of large tensors alone are taken for one.
 *
 * @throws SdaError as `openCheckpoint`; `file-missing` or `bad-file` where another file cannot be read
 */
export async function checkpointFingerprint(dir: string): Promise<string> {
  const checkpoint = await openCheckpoint(dir);
  await checkpoint.close();
  const hash = createHash('sha256');
  await addTexts(hash, dir);
  const files = new Map<string, TensorInfo[]>();
  for (const [name, tensor] of [...checkpoint.tensors].sort(byName)) {
    const others = files.get(tensor.file);
    if (others) others.push({ ...tensor, name });
    else files.set(tensor.file, [{ ...tensor, name }]);
  }
  for (const [file, tensors] of files) await sampleFile(hash, file, tensors);
  return hash.digest('hex').slice(0, 16);
}

/** The same of a folder whose weights are elsewhere: of its config and texts alone. @returns 16 hex digits */
export async function textsFingerprint(dir: string): Promise<string> {
  const hash = createHash('sha256');
  await addTexts(hash, dir);
  return hash.digest('hex').slice(0, 16);
}

async function addTexts(hash: Hash, dir: string): Promise<void> {
  for (const name of (await readdir(dir)).filter((name) => DECIDING.test(name)).sort()) {
    const text = (await readBytesIfPresent(join(dir, name), 'bad-file')) ?? new Uint8Array();
    hash.update(JSON.stringify([name, text.length])).update(text);
  }
}

function byName([a]: readonly [string, unknown], [b]: readonly [string, unknown]): number {
  return a < b ? -1 : Number(a > b);
}

async function sampleFile(hash: Hash, file: string, tensors: readonly TensorInfo[]): Promise<void> {
  let handle: FileHandle;
  try {
    handle = await open(file);
  } catch (error) {
    throw new SdaError(
      'file-missing',
      `${file} cannot be opened any more (${messageOf(error)}); it was moved or removed while in use.`,
      { cause: error },
    );
  }
  try {
    for (const { name, dtype, shape, offset, byteLength } of tensors) {
      hash.update(JSON.stringify([name, dtype, shape]));
      for (const [begin, length] of samplesOf(byteLength)) {
        const bytes = new Uint8Array(length);
        await readFully(handle, bytes, offset + begin, file);
        hash.update(bytes);
      }
    }
  } finally {
    await handle.close();
  }
}

/** Begin and length of each sample. */
function samplesOf(bytes: number): readonly (readonly [number, number])[] {
  if (bytes <= BLOCKS * BLOCK_BYTES) return [[0, bytes]];
  const step = (bytes - BLOCK_BYTES) / (BLOCKS - 1);
  return Array.from({ length: BLOCKS }, (_, i) => [Math.floor(i * step), BLOCK_BYTES]);
}
