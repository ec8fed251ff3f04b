import { existsSync, readdirSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { printable, SdaError } from '../errors.js';
import { listSome } from './json-file.js';

/** The weights of a folder that transformers writes: one file, or an index that names shards. */
export const SINGLE_FILE = 'model.safetensors';
export const INDEX_FILE = 'model.safetensors.index.json';

const ADAPTER = /^adapter_model\.(safetensors|bin)$/;
const CONSOLIDATED = /^consolidated(-\d+-of-\d+)?\.safetensors$/;
const GGUF = /\.gguf$/;
/** PyTorch's files, but for those that a training leaves beside the weights. */
const PYTORCH = /^(?!training_args|optimizer|scheduler|random_states|rng_state).*\.(bin|pt)$/;
const OTHER = /\.(pth|ckpt|ggml|h5|msgpack|onnx)$/;

/** Whether a safetensors file of this name holds tensors by other names than transformers gives a model's. */
export function isForeign(name: string): boolean {
  return ADAPTER.test(name) || CONSOLIDATED.test(name);
}

/** Whether a file of this name is read by an import. */
export function isImported(file: string): boolean {
  const name = basename(file);
  return GGUF.test(name) || PYTORCH.test(name) || CONSOLIDATED.test(name);
}

/** Whether a path is, or a folder holds, weights that {@link foreignWeights} names. */
export function holdsForeignWeights(path: string): boolean {
  if (isImported(path)) return existsSync(path);
  try {
    return readdirSync(path).some(
      (name) => isImported(name) || ADAPTER.test(name) || OTHER.test(name),
    );
  } catch {
    return false; // none, a file, or not to be listed: loading says which
  }
}

/** The error for weights of a folder in a format that is read after an import, or not at all; null where there are none. */
export async function foreignWeights(
  dir: string,
  names: readonly string[],
): Promise<SdaError | null> {
  const of = (pattern: RegExp) => names.filter((name) => pattern.test(name)).sort();
  const needed = `where ${SINGLE_FILE} or ${INDEX_FILE} is needed`;
  const imported = (what: string, source = dir) =>
    unsupported(`${dir} has ${what} ${needed}; run "npx sda import ${source} --out DIR".`);
  const [consolidated, gguf, pytorch, adapters, other] = [
    CONSOLIDATED,
    GGUF,
    PYTORCH,
    ADAPTER,
    OTHER,
  ].map(of) as [string[], string[], string[], string[], string[]];
  const models = pytorch.filter((name) => !adapters.includes(name));
  if (consolidated.length > 0) {
    return imported(`its weights in Mistral's own format (${listSome(consolidated, 3)})`);
  }
  if (models.length > 0) {
    return imported(`its weights as files of PyTorch (${listSome(models, 3)})`);
  }
  if (gguf.length > 0) {
    return imported(`its weights as GGUF (${listSome(gguf, 3)})`, join(dir, gguf[0]!));
  }
  if (adapters.length > 0) {
    const base = await baseModel(dir);
    const of = base === null ? '' : ` of ${base}`;
    return unsupported(
      `${dir} has an adapter${of} (${adapters[0]}) and no model ${needed}; run "npx sda import BASE --adapter ${dir} --out DIR" with the folder of its base model as BASE.`,
    );
  }
  if (other.length > 0) {
    return unsupported(
      `${dir} has its weights as ${listSome(other, 3)} ${needed}; convert them, for example with transformers' save_pretrained(..., safe_serialization=True).`,
    );
  }
  return null;
}

/** What is said of an adapter that lies beside weights. */
export function adapterWarnings(dir: string, names: Iterable<string>): string[] {
  return [...names]
    .filter((name) => ADAPTER.test(name))
    .map(
      (name) =>
        `${join(dir, name)} is an adapter beside the weights and is not applied; run "npx sda import ${dir} --adapter ${dir} --out DIR" to merge it.`,
    );
}

/** The name of the model that an adapter was made for; null where adapter_config.json does not say. */
async function baseModel(dir: string): Promise<string | null> {
  try {
    const text = await readFile(join(dir, 'adapter_config.json'), 'utf8');
    const { base_model_name_or_path: base } = JSON.parse(text) as Record<string, unknown>;
    return typeof base === 'string' && base !== '' ? printable(basename(base)) : null;
  } catch {
    return null;
  }
}

function unsupported(sentence: string): SdaError {
  return new SdaError('unsupported', sentence);
}
