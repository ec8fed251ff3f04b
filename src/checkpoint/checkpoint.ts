import { type FileHandle, open, readdir } from 'node:fs/promises';
import { dirname, isAbsolute, join } from 'node:path';
import { z } from 'zod';
import { messageOf, SdaError } from '../errors.js';
import { isTensorDtype } from './dtype.js';
import { describeIssues, isMissing, listSome, parseJson, readTextFile } from './json-file.js';
import { type NamedTensors, transformersNames } from './names.js';
import {
  adapterWarnings,
  foreignWeights,
  INDEX_FILE,
  isForeign,
  isImported,
  SINGLE_FILE,
} from './other-formats.js';
import { readFully, readHeader, type SafetensorsHeader, type TensorInfo } from './safetensors.js';

export type { TensorInfo } from './safetensors.js';

/** The tensors of a folder, by the names that transformers gives them; their bytes are read only when asked for. */
export interface Checkpoint {
  readonly dir: string;
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  /** Bytes of all tensors together. */
  readonly totalBytes: number;
  /** What is odd but harmless, each a sentence for people. */
  readonly warnings: readonly string[];
  /**
   * The bytes of one tensor, little-endian as in the file, row-major, in a buffer of their own
   * (so aligned for every typed array) or in `into`, which must have exactly its length.
   * @throws SdaError `bad-tensor` for an unknown name, dtype or a wrong `into`; `bad-file` for a short read.
   */
  read(name: string, into?: Uint8Array): Promise<Uint8Array>;
  /** Closes the files; a later read opens them again. */
  close(): Promise<void>;
}

/**
 * Opens the weights of a Hugging Face folder: `model.safetensors` where it exists, else the shards of
 * `model.safetensors.index.json` (the order of transformers, which looks for the single file first).
 * All headers are read and validated, and the index is held against them, before this returns. Names of another form
 * are understood (see `transformersNames`).
 * @throws SdaError `file-missing` (weights or shards), `bad-file`, or `unsupported` (other formats).
 */
export async function openCheckpoint(dir: string): Promise<Checkpoint> {
  const names = await listFolder(dir);
  const adapters = adapterWarnings(dir, names);
  if (names.has(SINGLE_FILE)) {
    const header = await readHeader(join(dir, SINGLE_FILE));
    return named(dir, header.tensors, adapters);
  }
  if (!names.has(INDEX_FILE)) throw await noWeights(dir, [...names]);
  const { tensors, warnings } = await readShards(dir, names);
  return named(dir, tensors, [...warnings, ...adapters]);
}

/**
 * The tensors of one safetensors file by the names that it gives them.
 * @throws SdaError `file-missing`, `bad-file`
 */
export async function openSafetensors(file: string): Promise<Checkpoint> {
  const { tensors } = await readHeader(file);
  return new FileCheckpoint(dirname(file), tensors, []);
}

function named(
  dir: string,
  tensors: ReadonlyMap<string, TensorInfo>,
  warnings: readonly string[],
): Checkpoint {
  const renamed = transformersNames(tensors, dir);
  return new FileCheckpoint(dir, renamed.tensors, [...renamed.warnings, ...warnings]);
}

async function listFolder(dir: string): Promise<ReadonlySet<string>> {
  try {
    return new Set(await readdir(dir));
  } catch (error) {
    throw new SdaError('file-missing', notListed(dir, error), { cause: error });
  }
}

function notListed(dir: string, error: unknown): string {
  const give = `give the folder that holds config.json and ${SINGLE_FILE}`;
  if ((error as { code?: unknown }).code === 'ENOTDIR') {
    const imported = isImported(dir) ? `run "npx sda import ${dir} --out DIR"` : give;
    return `${dir} is a file where a model folder is needed; ${imported}.`;
  }
  return isMissing(error)
    ? `The model folder ${dir} does not exist; ${give}.`
    : `The model folder ${dir} cannot be listed (${messageOf(error)}); check its permissions.`;
}

/** What is wrong with a folder that has no config.json, as far as the names of its files tell; null where nothing is. */
export async function folderProblem(dir: string): Promise<SdaError | null> {
  try {
    return await foreignWeights(dir, [...(await listFolder(dir))]);
  } catch (error) {
    if (error instanceof SdaError) return error;
    throw error;
  }
}

async function noWeights(dir: string, names: readonly string[]): Promise<SdaError> {
  const own = names.filter((name) => name.endsWith('.safetensors') && !isForeign(name)).sort();
  const none =
    own.length > 0
      ? `${dir} has ${listSome(own, 3)} but neither ${SINGLE_FILE} nor ${INDEX_FILE}; download the index as well, or rename a single file.`
      : `${dir} has no weights: neither ${SINGLE_FILE} nor ${INDEX_FILE}; give the folder of a downloaded checkpoint.`;
  const foreign = own.length > 0 ? null : await foreignWeights(dir, names);
  return foreign ?? new SdaError('file-missing', none);
}

const indexSchema = z.object({ weight_map: z.unknown() });

async function readShards(dir: string, names: ReadonlySet<string>): Promise<NamedTensors> {
  const indexFile = join(dir, INDEX_FILE);
  const weightMap = await readWeightMap(indexFile, '.safetensors');
  const shards = [...new Set(weightMap.values())].sort();
  const absent = shards.filter((shard) => !shard.includes('/') && !names.has(shard));
  if (absent.length > 0) {
    throw new SdaError(
      'file-missing',
      `${indexFile} names ${shards.length} shards but ${absent.length} of them do not exist: ${listSome(absent)}; download them.`,
    );
  }
  const headers = new Map<string, SafetensorsHeader>();
  for (const shard of shards) headers.set(shard, await readHeader(join(dir, shard)));
  return {
    tensors: matchIndex(indexFile, weightMap, headers),
    warnings: unmappedWarnings(indexFile, weightMap, headers),
  };
}

/**
 * The index of a sharded checkpoint: tensor name to shard file name, each shard inside the folder.
 * @param ending of the shards' names
 * @throws SdaError `file-missing`, `bad-file`
 */
export async function readWeightMap(
  file: string,
  ending: '.safetensors' | '.bin',
): Promise<ReadonlyMap<string, string>> {
  const json = parseJson(await readTextFile(file, 'bad-file'), file, 'bad-file');
  const parsed = indexSchema.safeParse(json);
  if (!parsed.success) {
    throw new SdaError(
      'bad-file',
      `${file} is not an index of shards (${describeIssues(parsed.error)}); download it again.`,
    );
  }
  const { weight_map: weightMap } = parsed.data;
  if (typeof weightMap !== 'object' || weightMap === null || Array.isArray(weightMap)) {
    throw new SdaError('bad-file', `${file} has no object "weight_map"; download it again.`);
  }
  const entries = Object.entries(weightMap as Record<string, unknown>);
  if (entries.length === 0) {
    throw new SdaError('bad-file', `${file} has an empty "weight_map"; download it again.`);
  }
  const map = new Map<string, string>();
  for (const [tensor, shard] of entries) {
    if (typeof shard !== 'string' || !isInsideFolder(shard, ending)) {
      throw new SdaError(
        'bad-file',
        `${file} maps the tensor ${JSON.stringify(tensor)} to ${JSON.stringify(shard)} where a ${ending} file inside the folder is expected; correct the index.`,
      );
    }
    map.set(tensor, shard);
  }
  return map;
}

function isInsideFolder(shard: string, ending: string): boolean {
  const odd = /[\\\p{Cc}]/u.test(shard) || isAbsolute(shard);
  const steps = shard.split('/');
  return !odd && shard.endsWith(ending) && !steps.some((step) => /^\.{0,2}$/.test(step));
}

/** The tensors that the index names, in its order; each must be in its shard. */
function matchIndex(
  file: string,
  weightMap: ReadonlyMap<string, string>,
  headers: ReadonlyMap<string, SafetensorsHeader>,
): ReadonlyMap<string, TensorInfo> {
  const tensors = new Map<string, TensorInfo>();
  const missing: string[] = [];
  for (const [name, shard] of weightMap) {
    const tensor = headers.get(shard)?.tensors.get(name);
    if (tensor) tensors.set(name, tensor);
    else missing.push(`${name} in ${shard}`);
  }
  if (missing.length > 0) {
    throw new SdaError(
      'bad-file',
      `${file} does not fit its shards, ${missing.length} tensors are not where it says: ${listSome(missing)}; the index is stale, download index and shards from the same revision.`,
    );
  }
  return tensors;
}

function unmappedWarnings(
  file: string,
  weightMap: ReadonlyMap<string, string>,
  headers: ReadonlyMap<string, SafetensorsHeader>,
): string[] {
  const unmapped = [...headers].flatMap(([shard, header]) =>
    [...header.tensors.keys()].filter((name) => weightMap.get(name) !== shard),
  );
  if (unmapped.length === 0) return [];
  return [
    `The shards hold ${unmapped.length} tensors that ${file} does not name, which are ignored: ${listSome(unmapped)}.`,
  ];
}

class FileCheckpoint implements Checkpoint {
  readonly totalBytes: number;
  private readonly handles = new Map<string, Promise<FileHandle>>();

  constructor(
    readonly dir: string,
    readonly tensors: ReadonlyMap<string, TensorInfo>,
    readonly warnings: readonly string[],
  ) {
    let total = 0;
    for (const tensor of tensors.values()) total += tensor.byteLength;
    this.totalBytes = total;
  }

  async read(name: string, into?: Uint8Array): Promise<Uint8Array> {
    const tensor = this.tensors.get(name);
    if (!tensor) {
      throw new SdaError(
        'bad-tensor',
        `${this.dir} has no tensor ${JSON.stringify(name)} among its ${this.tensors.size}; check that the weights fit config.json.`,
      );
    }
    if (!isTensorDtype(tensor.dtype)) {
      throw new SdaError(
        'bad-tensor',
        `The tensor ${JSON.stringify(name)} of ${tensor.file} has the dtype ${JSON.stringify(tensor.dtype)}, which the safetensors format does not know; convert it to F32, F16 or BF16.`,
      );
    }
    if (into && into.length !== tensor.byteLength) {
      throw new SdaError(
        'bad-tensor',
        `The tensor ${JSON.stringify(name)} of ${tensor.file} has ${tensor.byteLength} bytes where the buffer to fill has ${into.length}; give one of exactly that length.`,
      );
    }
    const bytes = into ?? new Uint8Array(tensor.byteLength);
    await readFully(await this.handle(tensor.file), bytes, tensor.offset, tensor.file);
    return bytes;
  }

  private handle(file: string): Promise<FileHandle> {
    let handle = this.handles.get(file);
    if (!handle) {
      handle = open(file, 'r').catch((error: unknown) => {
        this.handles.delete(file);
        throw new SdaError(
          'file-missing',
          `${file} cannot be opened any more (${messageOf(error)}); it was moved or removed while in use, so load the model again.`,
          { cause: error },
        );
      });
      this.handles.set(file, handle);
    }
    return handle;
  }

  async close(): Promise<void> {
    const open = [...this.handles.values()];
    this.handles.clear();
    for (const handle of await Promise.allSettled(open)) {
      // what was only read loses nothing
      if (handle.status === 'fulfilled') await handle.value.close().catch(() => undefined);
    }
  }
}
