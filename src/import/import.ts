import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { MatrixProduct } from '../checkpoint/adapter/low-rank.js';
import { type AdapterSource, withAdapters } from '../checkpoint/adapter/merge.js';
import { castCheckpoint } from '../checkpoint/cast.js';
import type { Checkpoint } from '../checkpoint/checkpoint.js';
import { derivedCheckpoint } from '../checkpoint/derived.js';
import { DTYPE_NAMES, isWeightDtype, type WeightDtype } from '../checkpoint/dtype.js';
import { messageOf, SdaError } from '../errors.js';
import type { ModelConfig } from '../model/config.js';
import { checkTensors, EMBEDDING, HEAD } from '../model/families.js';
import { openFolder } from '../model/folder.js';
import { OWN_METHOD } from '../model/quantised.js';
import { type QuantisedDtype, quantisedCheckpoint } from '../model/quantised-checkpoint.js';
import { GROUP } from '../runtime/quantised.js';
import { freeBytes } from '../setup/disk.js';
import { formatBytes } from '../setup/report.js';
import { loadChatTemplate } from '../text/chat-template.js';
import { loadTokenizer } from '../text/tokenizer.js';
import { fillNewFolder, requireNew } from './folder.js';
import { openPickled } from './pytorch/checkpoint.js';
import { openSource, type Source } from './source.js';
import { copyTextFiles } from './text-files.js';
import { writeSafetensors } from './write-safetensors.js';

export interface ImportOptions {
  /** Dtype of all tensors; default: as they are stored, bfloat16 where they are quantised */
  readonly dtype?: WeightDtype | undefined;
  /** Quantises the matrices, after adapters; TensorFlow must have been started. Default: they stay floats */
  readonly quantise?: QuantisedDtype | undefined;
  /** LoRA adapters to merge */
  readonly adapters?: readonly AdapterSource[];
  /** Most bytes of a file of weights; default 5 GB */
  readonly maxShardBytes?: number | undefined;
  /** Computes what adapters change; default: without TensorFlow */
  readonly product?: MatrixProduct | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Bytes of tensors written, and of all */
  readonly onBytes?: ((written: number, total: number) => void) | undefined;
}

/** What an import made. */
export interface Imported {
  readonly config: ModelConfig;
  /** Names of the files of weights, the index among them */
  readonly files: readonly string[];
  readonly bytes: number;
  readonly dtypes: readonly string[];
  readonly hasTokenizer: boolean;
  /** Whether one comes with the tokenizer, so that a query can be asked as it is */
  readonly hasChatTemplate: boolean;
  /** Each a sentence for people. */
  readonly warnings: readonly string[];
}

const DEFAULT_SHARD_BYTES = 5e9;
/** Beside the weights: the tokenizer, and what a file system takes for itself. */
const SPARE_BYTES = 100e6;

/**
 * Makes an ordinary Hugging Face folder of a model in another form: `.bin` and `.pt` files of PyTorch, GGUF, Mistral's
 * own, or safetensors that adapters are merged into. Nothing that a file names is executed, and no more than one tensor
 * is in memory.
 *
 * @param source a folder, or one file of weights
 * @param out a folder that does not exist yet; it is there when it is whole, and only then
 * @throws SdaError naming the file, tensor, key or option at fault; `aborted`
 */
export async function importModel(
  source: string,
  out: string,
  options: ImportOptions = {},
): Promise<Imported> {
  await requireNew(out);
  const model = await openSource(source);
  let checkpoint = model.checkpoint;
  try {
    refuseQuantised(model, options);
    checkpoint = await prepared(model, options);
    const { config, dir } = model;
    const dequantised = model.quantised === 'in the checkpoint';
    let checked = checkTensors(config, checkpoint.tensors, dir, { dequantised });
    if (options.quantise) {
      ({ checkpoint, checked } = quantisedCheckpoint(
        config,
        checkpoint,
        checked,
        options.quantise,
      ));
    }
    const { warnings } = checked;
    const names = checked.specs.map(({ name }) => name);
    await checkDisk(checkpoint, names, out);
    return await fillNewFolder(out, async (temporary) => {
      const files = await writeSafetensors(checkpoint, names, temporary, {
        ...options,
        maxShardBytes: options.maxShardBytes ?? DEFAULT_SHARD_BYTES,
      });
      const text = await writeTexts(model, checkpoint, temporary, options.quantise);
      const made = await readBack(temporary, out);
      return {
        ...made,
        files,
        warnings: [...checkpoint.warnings, ...warnings, ...text],
      };
    });
  } finally {
    await checkpoint.close();
  }
}

/** The tensors to write: adapters merged, in the dtype that is asked for, and no head that is the embedding itself. */
async function prepared(model: Source, options: ImportOptions): Promise<Checkpoint> {
  const merged = await withAdapters(withoutTiedHead(model), options.adapters ?? [], {
    product: options.product,
    openPickled,
  });
  // quantised anew, they are what loading with that dtype makes of them
  const rounded = model.quantised === 'in the file' || (model.quantised && !options.quantise);
  const dtype = options.dtype ?? (rounded ? 'BF16' : undefined);
  return dtype === undefined ? merged : castCheckpoint(merged, dtype);
}

/** torch.save keeps a head that shares the embedding's memory, and it is read from the same place. */
function withoutTiedHead({ checkpoint, config }: Source): Checkpoint {
  const [head, embedding] = [HEAD, EMBEDDING].map((name) => checkpoint.tensors.get(name));
  const same = head && head.file === embedding?.file && head.offset === embedding.offset;
  if (!config.tieWordEmbeddings || !same) return checkpoint;
  return derivedCheckpoint(checkpoint, {
    tensors: new Map([...checkpoint.tensors].filter(([name]) => name !== HEAD)),
    read: (name, into) => checkpoint.read(name, into),
  });
}

/** Quantised weights are an end: neither floats nor others are made of them. */
function refuseQuantised({ config, dir }: Source, { quantise, adapters = [] }: ImportOptions) {
  if (config.quantisation !== OWN_METHOD) return;
  const wanted = quantise ?? (adapters.length > 0 ? 'merging adapters' : 'importing');
  throw new SdaError(
    'bad-input',
    `${dir} holds weights that "sda quantise" made, which are no source for ${wanted}; give the model that they were made of.`,
  );
}

async function checkDisk(checkpoint: Checkpoint, names: readonly string[], out: string) {
  const bytes = names.reduce((sum, name) => sum + checkpoint.tensors.get(name)!.byteLength, 0);
  const free = await freeBytes(out);
  if (free >= bytes + SPARE_BYTES) return;
  throw new SdaError(
    'bad-input',
    `The imported model has ${formatBytes(bytes)}, and the disk of ${out} has ${formatBytes(free)} free; free some, or give --out on another disk.`,
  );
}

/** @returns warnings */
async function writeTexts(
  model: Source,
  checkpoint: Checkpoint,
  to: string,
  quantise: QuantisedDtype | undefined,
) {
  const config = model.configs['config.json'] as Record<string, unknown>;
  const { dtype } = checkpoint.tensors.get('model.layers.0.mlp.down_proj.weight')!;
  const stored = isWeightDtype(dtype) ? DTYPE_NAMES[dtype] : undefined;
  const key = 'dtype' in config ? 'dtype' : 'torch_dtype';
  const quantisation = { quant_method: OWN_METHOD, dtype: quantise, group_size: GROUP };
  const { quantization_config: _, ...plain } = config;
  const changed = quantise ? { quantization_config: quantisation } : { [key]: stored };
  const { made, warnings } = model.tokenizer
    ? { made: model.tokenizer, warnings: [] }
    : await copyTextFiles(model.dir, to);
  const { 'config.json': __, ...others } = model.configs;
  // last: a folder without it is no model
  const files = { ...made, ...others, 'config.json': { ...plain, ...changed } };
  for (const [name, value] of Object.entries(files)) {
    await writeFile(join(to, name), `${JSON.stringify(value, null, 2)}\n`);
  }
  return warnings;
}

/** Opens the written folder as every command does. */
async function readBack(dir: string, out: string) {
  try {
    const { config, checkpoint, checked } = await openFolder(dir);
    await checkpoint.close();
    const tensors = checked.specs.map(({ name }) => checkpoint.tensors.get(name)!);
    const hasTokenizer = await loadTokenizer(dir).then(
      () => true,
      (error: unknown) => {
        if (error instanceof SdaError && error.code === 'file-missing') return false;
        throw error;
      },
    );
    return {
      config,
      bytes: checkpoint.totalBytes,
      dtypes: [...new Set(tensors.map(({ dtype }) => dtype))],
      hasTokenizer,
      hasChatTemplate: hasTokenizer && (await loadChatTemplate(dir)) !== null,
    };
  } catch (error) {
    const why = messageOf(error).replaceAll(dir, out).replace(/\.$/, '');
    throw new SdaError('bad-file', `The imported model does not load: ${why}.`, { cause: error });
  }
}
