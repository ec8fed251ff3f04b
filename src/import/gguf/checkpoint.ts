import type { FileHandle } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { Checkpoint, TensorInfo } from '../../checkpoint/checkpoint.js';
import type { WeightDtype } from '../../checkpoint/dtype.js';
import { listSome } from '../../checkpoint/json-file.js';
import { openFile } from '../../checkpoint/open-file.js';
import { readFully } from '../../checkpoint/safetensors.js';
import { widen } from '../../checkpoint/widen.js';
import { SdaError } from '../../errors.js';
import type { ModuleNames } from '../module-names.js';
import { halvesFromPairs } from '../rotation-order.js';
import { architecture, architectureOf } from './architectures.js';
import { dequantise } from './blocks.js';
import { ggufConfigs } from './config.js';
import { type GgufHeader, readGgufHeader } from './header.js';
import { Metadata } from './metadata.js';
import { splitFiles } from './split.js';
import { ROPE_FACTORS, type StoredTensor, storedTensors, transformersName } from './tensors.js';

/** A GGUF model: its tensors, what config.json says of it, and what its tokenizer is made from. */
export interface GgufModel {
  readonly checkpoint: Checkpoint;
  readonly config: Readonly<Record<string, unknown>>;
  readonly generationConfig: Readonly<Record<string, unknown>>;
  readonly metadata: Metadata;
  /** Whether any tensor is quantised: it is then read as float32. */
  readonly quantised: boolean;
}

/**
 * Opens a GGUF file, or all files of a split one. Tensors have the names, the shapes and the order of rows of
 * transformers; those of quantised types are read as float32.
 * @throws SdaError `file-missing`, `bad-file`, `bad-config`, `unsupported` for another architecture or type
 */
export async function openGguf(file: string): Promise<GgufModel> {
  const handles: FileHandle[] = [];
  try {
    const stored = new Map<string, StoredTensor>();
    const places = new Map<string, FileHandle>();
    const headers: GgufHeader[] = [];
    for (const part of splitFiles(file)) {
      const handle = await openFile(part);
      handles.push(handle);
      const header = await readGgufHeader(handle, part);
      headers.push(header);
      for (const [name, tensor] of storedTensors(header, part, (await handle.stat()).size)) {
        stored.set(name, tensor);
      }
      places.set(part, handle);
    }
    return await describe(new Metadata(headers[0]!.metadata, file), stored, places);
  } catch (error) {
    for (const handle of handles) await handle.close();
    throw error;
  }
}

async function describe(
  metadata: Metadata,
  stored: ReadonlyMap<string, StoredTensor>,
  handles: ReadonlyMap<string, FileHandle>,
): Promise<GgufModel> {
  const { file } = metadata;
  const { modules, pairedRows } = architecture(architectureOf(metadata));
  const embedding = stored.get('token_embd.weight');
  if (!embedding) {
    throw new SdaError('bad-file', `${file} has no token_embd.weight; give the file of a model.`);
  }
  const { config, generationConfig } = ggufConfigs(metadata, {
    vocabSize: embedding.shape[0]!,
    hasHead: stored.has('output.weight'),
    attentionBias: stored.has('blk.0.attn_q.bias'),
    mlpBias: stored.has('blk.0.ffn_up.bias'),
    ropeFactors: {
      llama3: await factorsOf('llama3', stored, handles),
      short: await factorsOf('short', stored, handles),
      long: await factorsOf('long', stored, handles),
    },
  });
  const paired = pairedRows
    ? { q_proj: config.num_attention_heads, k_proj: config.num_key_value_heads }
    : {};
  const tensors = named(stored, modules, file);
  const checkpoint = new GgufCheckpoint(dirname(file), tensors, paired, handles);
  const quantised = [...stored.values()].some(({ type }) => type.quantised);
  return { checkpoint, config, generationConfig, metadata, quantised };
}

/** By transformers' names. */
function named(stored: ReadonlyMap<string, StoredTensor>, modules: ModuleNames, file: string) {
  const settings: readonly string[] = Object.values(ROPE_FACTORS);
  const tensors = new Map<string, StoredTensor>();
  const other: string[] = [];
  for (const [name, tensor] of stored) {
    const known = transformersName(name, modules);
    if (known !== null) tensors.set(known, tensor);
    else if (!settings.includes(name)) other.push(name);
  }
  if (other.length === 0) return tensors;
  throw new SdaError(
    'unsupported',
    `${file} holds ${other.length} tensors that have no place in a decoder here: ${listSome(other)}; import a model of another kind.`,
  );
}

class GgufCheckpoint implements Checkpoint {
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  readonly totalBytes: number;
  readonly warnings: readonly string[] = [];

  /** @param paired heads of the projections whose rows lie in pairs */
  constructor(
    readonly dir: string,
    private readonly stored: ReadonlyMap<string, StoredTensor>,
    private readonly paired: Readonly<Record<string, number>>,
    private readonly handles: ReadonlyMap<string, FileHandle>,
  ) {
    const infos = [...stored].map(([name, tensor]): [string, TensorInfo] => {
      const { shape, type, file, offset } = tensor;
      const dtype = type.quantised ? 'F32' : type.name;
      const width = type.quantised ? 4 : type.bytes;
      const byteLength = shape.reduce((product, size) => product * size, width);
      return [name, { name, dtype, shape, file, offset, byteLength }];
    });
    this.tensors = new Map(infos);
    this.totalBytes = infos.reduce((sum, [, { byteLength }]) => sum + byteLength, 0);
  }

  async read(name: string, into?: Uint8Array): Promise<Uint8Array> {
    const tensor = this.stored.get(name);
    if (!tensor) {
      throw new SdaError('bad-tensor', `${this.dir} has no tensor ${JSON.stringify(name)}.`);
    }
    const { shape, type, file, offset, byteLength } = tensor;
    let bytes: Uint8Array = new Uint8Array(byteLength);
    await readFully(this.handles.get(file)!, bytes, offset, file);
    const heads = this.paired[/(\w+)\.(?:weight|bias)$/.exec(name)?.[1] ?? ''];
    if (heads !== undefined) bytes = halvesFromPairs(bytes, shape[0]!, heads);
    if (type.quantised) bytes = finite(dequantise(bytes, type), name, file);
    if (!into) return bytes;
    into.set(bytes);
    return into;
  }

  async close(): Promise<void> {
    for (const handle of this.handles.values()) await handle.close();
  }
}

/** The bytes of the values. A damaged scale makes a whole block infinite. */
function finite(values: Float32Array, name: string, file: string): Uint8Array {
  for (let i = 0; i < values.length; i++) {
    if (Math.abs(values[i]!) < Number.POSITIVE_INFINITY) continue;
    throw new SdaError(
      'bad-tensor',
      `${file} holds values in ${name} that are not finite; it is damaged, download it again.`,
    );
  }
  return new Uint8Array(values.buffer);
}

async function factorsOf(
  kind: keyof typeof ROPE_FACTORS,
  stored: ReadonlyMap<string, StoredTensor>,
  handles: ReadonlyMap<string, FileHandle>,
): Promise<Float32Array | null> {
  const tensor = stored.get(ROPE_FACTORS[kind]);
  if (!tensor) return null;
  const handle = handles.get(tensor.file)!;
  const bytes = new Uint8Array(tensor.byteLength);
  await readFully(handle, bytes, tensor.offset, tensor.file);
  if (tensor.type.quantised) return dequantise(bytes, tensor.type);
  const values = new Float32Array(bytes.length / tensor.type.bytes);
  widen(bytes, tensor.type.name as WeightDtype, new Uint8Array(values.buffer));
  return values;
}
