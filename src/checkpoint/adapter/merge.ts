import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { basename, join } from 'node:path';
import { SdaError } from '../../errors.js';
import { type Checkpoint, openSafetensors } from '../checkpoint.js';
import { derivedCheckpoint } from '../derived.js';
import { parseJson, readTextFileIfPresent } from '../json-file.js';
import { type Change, changesOf } from './changes.js';
import { type AdapterConfig, readAdapterConfig } from './config.js';
import { type MatrixProduct, type OpenAdapter, plainProduct, readMerged } from './low-rank.js';

/** A LoRA adapter of PEFT, and how much of it. */
export interface AdapterSource {
  /** The folder with adapter_config.json and adapter_model.safetensors */
  readonly dir: string;
  /** Multiplies its change of the weights; default 1 */
  readonly weight?: number;
}

export interface MergeOptions {
  /** Default: without TensorFlow */
  readonly product?: MatrixProduct | undefined;
  /** Opens an adapter_model.bin, where there is no adapter_model.safetensors; default: it is refused */
  readonly openPickled?: (file: string) => Promise<Checkpoint>;
}

const WEIGHTS = 'adapter_model.safetensors';
const PICKLED_WEIGHTS = 'adapter_model.bin';
/** A model without it takes the embedding for it. */
const HEAD = 'lm_head.weight';

/**
 * The checkpoint with adapters merged into its tensors as they are read: W + sum of weight * scale * B A, in float32,
 * rounded once to the dtype that W is stored in. Closing it closes the adapters as well.
 * @throws SdaError `file-missing`, `bad-config`, `bad-tensor` for what does not fit, `unsupported` for other methods
 */
export async function withAdapters(
  base: Checkpoint,
  sources: readonly AdapterSource[],
  options: MergeOptions = {},
): Promise<Checkpoint> {
  if (sources.length === 0) return base;
  const opened: OpenAdapter[] = [];
  const warnings: string[] = [];
  const close = async () => {
    for (const { weights } of opened) await weights.close();
  };
  try {
    for (const source of sources) {
      const config = await readAdapterConfig(source.dir);
      warnings.push(...otherBase(config, await nameOf(base), source.dir));
      opened.push(await openAdapter(source, config, base, options));
    }
  } catch (error) {
    await close();
    throw error;
  }
  const merged = derivedCheckpoint(base, {
    tensors: base.tensors,
    warnings: [...opened.flatMap(({ weights }) => weights.warnings), ...warnings],
    read: (name, into) => readMerged(name, into, base, opened, options.product ?? plainProduct),
  });
  return { ...merged, close: () => Promise.all([base.close(), close()]).then(() => {}) };
}

/**
 * Tells adapters apart, by all their bytes.
 * @returns a SHA-256 of configuration, tensors and weight
 */
export async function adapterFingerprint({ dir, weight = 1 }: AdapterSource): Promise<string> {
  const config = await readAdapterConfig(dir);
  const weights = await openWeights(dir);
  const hash = createHash('sha256').update(JSON.stringify(weight));
  try {
    for (const name of [...weights.tensors.keys()].sort()) {
      const module = name.replace(/^base_model\.model\.|\.lora_.*$/g, '');
      hash.update(JSON.stringify([name, config.scaling(module)])).update(await weights.read(name));
    }
  } finally {
    await weights.close();
  }
  return hash.digest('hex');
}

async function openAdapter(
  { dir, weight = 1 }: AdapterSource,
  config: AdapterConfig,
  base: Checkpoint,
  { openPickled }: MergeOptions,
): Promise<OpenAdapter> {
  const weights = await openWeights(dir, openPickled);
  try {
    const changes = changesOf(weights, config, base.tensors);
    checkWeight(weight, changes, dir);
    if (!base.tensors.has(HEAD)) refuseTied(changes, dir);
    return { weights, weight, changes };
  } catch (error) {
    await weights.close();
    throw error;
  }
}

async function openWeights(
  dir: string,
  openPickled?: (file: string) => Promise<Checkpoint>,
): Promise<Checkpoint> {
  const [plain, pickled] = [WEIGHTS, PICKLED_WEIGHTS].map((name) => join(dir, name)) as [
    string,
    string,
  ];
  if (existsSync(plain) || !existsSync(pickled)) return openSafetensors(plain);
  if (openPickled) return openPickled(pickled);
  throw new SdaError(
    'unsupported',
    `The adapter ${dir} has its weights as ${PICKLED_WEIGHTS} where ${WEIGHTS} is read; merge it with "sda import BASE --adapter ${dir} --out DIR".`,
  );
}

function checkWeight(weight: number, changes: ReadonlyMap<string, Change>, dir: string): void {
  if (!Number.isFinite(weight)) {
    throw new SdaError(
      'bad-input',
      `The weight of the adapter ${dir} is ${weight}; give a number.`,
    );
  }
  const whole = [...changes].find(([, { replacement }]) => replacement !== undefined);
  if (weight === 1 || !whole) return;
  throw new SdaError(
    'bad-input',
    `The adapter ${dir} replaces whole tensors (${whole[0]}), so its weight must be 1, but is ${weight}.`,
  );
}

/** PEFT itself has two answers there: with the adapter apart the head keeps the old embedding, merged it does not. */
function refuseTied(changes: ReadonlyMap<string, Change>, dir: string): void {
  const name = ['model.embed_tokens.weight', HEAD].find((one) => changes.has(one));
  if (name === undefined) return;
  throw new SdaError(
    'unsupported',
    `The adapter ${dir} changes ${name}, which the base model has as embedding and as head in one; merge it with PEFT's merge_and_unload.`,
  );
}

/** The name of a model as its config.json has it, without its owner; null where it has none. */
async function nameOf({ dir }: Checkpoint): Promise<string | null> {
  const file = join(dir, 'config.json');
  const text = await readTextFileIfPresent(file, 'bad-config');
  if (text === null) return null;
  const { _name_or_path: name } = Object(parseJson(text, file, 'bad-config'));
  return typeof name === 'string' && name !== '' ? basename(name) : null;
}

function otherBase(config: AdapterConfig, base: string | null, dir: string): string[] {
  const trained = config.baseModel;
  if (trained === null || base === null || trained.toLowerCase() === base.toLowerCase()) return [];
  return [`The adapter ${dir} was trained on ${trained}, and the base model's name is ${base}.`];
}
