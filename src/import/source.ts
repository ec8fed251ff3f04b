import { existsSync, readdirSync, statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { type Checkpoint, openCheckpoint } from '../checkpoint/checkpoint.js';
import { derivedCheckpoint } from '../checkpoint/derived.js';
import {
  listSome,
  parseJson,
  readTextFile,
  readTextFileIfPresent,
} from '../checkpoint/json-file.js';
import { transformersNames } from '../checkpoint/names.js';
import { INDEX_FILE, SINGLE_FILE } from '../checkpoint/other-formats.js';
import { messageOf, SdaError } from '../errors.js';
import { type ModelConfig, parseConfig } from '../model/config.js';
import { openHub } from '../model/hub/open.js';
import { openGguf } from './gguf/checkpoint.js';
import { ggufTokenizer } from './gguf/tokenizer.js';
import { CONSOLIDATED_FILE, mistralConfig, openConsolidated, PARAMS_FILE } from './mistral.js';
import {
  openPickled,
  openPickledShards,
  PICKLED_FILE,
  PICKLED_INDEX,
} from './pytorch/checkpoint.js';

/** A JSON file's value, by the file's name. */
export type JsonFiles = Readonly<Record<string, unknown>>;

/** A model in any form that can be imported. */
export interface Source {
  /** Where files beside the weights are */
  readonly dir: string;
  /** Its tensors by transformers' names; the caller closes it. */
  readonly checkpoint: Checkpoint;
  readonly config: ModelConfig;
  /** config.json and, where there is one, generation_config.json */
  readonly configs: JsonFiles;
  /** The tokenizer's files where they do not come from `dir` */
  readonly tokenizer: JsonFiles | null;
  /** Whether its weights were quantised: in a checkpoint that could be loaded as it is, or in a file of another form */
  readonly quantised: 'in the checkpoint' | 'in the file' | false;
}

/**
 * Opens a model: a folder, or one file of weights. Only headers are read.
 * @throws SdaError `file-missing` where there are no weights or no config.json; what its format throws
 */
export async function openSource(path: string): Promise<Source> {
  const info = statOf(path);
  const dir = info.isDirectory() ? path : dirname(path);
  const weights = info.isDirectory() ? weightsOf(path) : basename(path);
  if (GGUF.test(weights)) return openGgufSource(join(dir, weights));
  const own = weights === CONSOLIDATED_FILE && !existsSync(join(dir, 'config.json'));
  const configs = own ? { 'config.json': await mistralConfig(dir) } : await configsOf(dir);
  const config = parsed(configs, join(dir, own ? PARAMS_FILE : 'config.json'));
  const stored = await openWeights(dir, weights, config);
  try {
    const hub = await openHub(config, stored, join(dir, 'config.json'));
    const checkpoint = hub ? hub.as('F32') : stored;
    const quantised = hub ? 'in the checkpoint' : false;
    return { dir, checkpoint, config, configs, tokenizer: null, quantised };
  } catch (error) {
    await stored.close();
    throw error;
  }
}

function statOf(path: string) {
  try {
    return statSync(path);
  } catch (error) {
    throw new SdaError(
      'file-missing',
      `${path} cannot be imported (${messageOf(error)}); give a model's folder or its file of weights.`,
      { cause: error },
    );
  }
}

/** The file or index by which a folder's weights are opened. */
function weightsOf(dir: string): string {
  const names = readdirSync(dir).sort();
  const known = [SINGLE_FILE, INDEX_FILE, PICKLED_INDEX, PICKLED_FILE, CONSOLIDATED_FILE];
  const found = known.find((name) => names.includes(name));
  if (found !== undefined) return found;
  const choices = names.filter(
    (name) =>
      (GGUF.test(name) && !LATER_PART.test(name)) || (PICKLED.test(name) && !BESIDE.test(name)),
  );
  if (choices.length === 1) return choices[0]!;
  throw new SdaError(
    'file-missing',
    choices.length > 1
      ? `${dir} has ${choices.length} files of weights and no index (${listSome(choices)}); give one of them, or download the index.`
      : `${dir} has no weights that can be imported (.safetensors, .bin, .pt, .gguf); give a model's folder or its file of weights.`,
  );
}

const GGUF = /\.gguf$/;
const LATER_PART = /-(?!00001)\d{5}-of-\d{5}\.gguf$/;
const PICKLED = /\.(bin|pt|pth)$/;
/** What training leaves beside the weights. */
const BESIDE = /^(training_args|optimizer|scheduler|random_states|rng_state|adapter_model)/;

async function openWeights(dir: string, weights: string, config: ModelConfig): Promise<Checkpoint> {
  const { numHeads: queries, numKeyValueHeads: keys } = config;
  if (weights === SINGLE_FILE || weights === INDEX_FILE) return openCheckpoint(dir);
  if (weights === CONSOLIDATED_FILE) return openConsolidated(dir, { queries, keys });
  if (weights.endsWith('.index.json')) return renamed(await openPickledShards(join(dir, weights)));
  if (PICKLED.test(weights)) return renamed(await openPickled(join(dir, weights)));
  throw new SdaError(
    'unsupported',
    `${join(dir, weights)} is no file of weights that can be imported (.bin, .pt, .gguf, ${CONSOLIDATED_FILE}); give one, or the model's folder.`,
  );
}

/** The same tensors by the names that transformers gives them. */
function renamed(checkpoint: Checkpoint): Checkpoint {
  const { tensors, warnings } = transformersNames(checkpoint.tensors, checkpoint.dir);
  return derivedCheckpoint(checkpoint, {
    tensors,
    warnings,
    read: (name, into) => checkpoint.read(tensors.get(name)!.name, into),
  });
}

async function configsOf(dir: string): Promise<JsonFiles> {
  const file = join(dir, 'config.json');
  const generationFile = join(dir, 'generation_config.json');
  const generation = await readTextFileIfPresent(generationFile, 'bad-config');
  return {
    'config.json': parseJson(await readTextFile(file, 'bad-config'), file, 'bad-config'),
    ...(generation !== null && {
      'generation_config.json': parseJson(generation, generationFile, 'bad-config'),
    }),
  };
}

function parsed(configs: JsonFiles, file: string): ModelConfig {
  return parseConfig(configs['config.json'], {
    file,
    generationConfig: configs['generation_config.json'],
  });
}

async function openGgufSource(file: string): Promise<Source> {
  const { checkpoint, config, generationConfig, metadata, quantised } = await openGguf(file);
  try {
    const configs = { 'config.json': config, 'generation_config.json': generationConfig };
    return {
      dir: dirname(file),
      checkpoint,
      config: parsed(configs, file),
      configs,
      tokenizer: ggufTokenizer(metadata),
      quantised: quantised ? 'in the file' : false,
    };
  } catch (error) {
    await checkpoint.close();
    throw error;
  }
}
