import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, rm, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { SdaError } from '../errors.js';
import { unpackArchive } from './archive.js';
import { fillFolder, readComplete } from './cache.js';
import { freeBytes, requireDisk } from './disk.js';
import { downloadProgress, downloadWheels } from './pip.js';
import {
  type DeviceChoice,
  type Machine,
  planRuntime,
  type RuntimePlan,
  TENSORFLOW_VERSION,
  tensorflowLibraries,
  WHEEL_PYTHON,
} from './plan.js';
import { formatBytes } from './report.js';
import { findPython, type Python } from './tools.js';

/** A TensorFlow to build against and to run. */
export interface TensorFlow {
  /** Holds the two libraries and `include/`. */
  readonly dir: string;
  /** True when it brings the CUDA libraries; undefined for a folder of the user's own. */
  readonly gpu: boolean | undefined;
  /** Paths of libtensorflow_cc and libtensorflow_framework. */
  readonly libraries: readonly string[];
  /** Folders in which the built addons look for shared libraries. */
  readonly libraryDirs: readonly string[];
  /** Changes when the libraries do. */
  readonly fingerprint: string;
}

export interface TensorFlowOptions {
  readonly machine: Machine;
  readonly choice: DeviceChoice;
  readonly cacheDir: string;
  readonly env: NodeJS.ProcessEnv;
  readonly onProgress: (text: string) => void;
}

/**
 * The TensorFlow of this machine: the folder in `SDA_TENSORFLOW_DIR`, else the one in the cache, else the
 * PyPI wheel's, fetched into the cache.
 *
 * @throws SdaError `setup` when the folder lacks something or the wheel cannot be fetched, `unsupported`
 *   when there is no wheel for this machine.
 */
export async function ensureTensorFlow(
  options: TensorFlowOptions,
): Promise<{ tensorflow: TensorFlow; cached: boolean }> {
  const { env, machine, choice, cacheDir } = options;
  if (env.SDA_TENSORFLOW_DIR) {
    const dir = resolve(env.SDA_TENSORFLOW_DIR);
    return { tensorflow: await describe(dir, machine.platform, undefined), cached: true };
  }
  const plan = planRuntime(machine, choice);
  const folder = join(cacheDir, 'tensorflow', plan.id);
  const cached = (await readComplete(folder)) !== undefined;
  if (!cached) {
    const python = await findPython(env);
    await requireDisk(folder, plan.diskBytes, `Fetching TensorFlow ${TENSORFLOW_VERSION}`);
    const what = plan.cuda ? ' with the CUDA libraries' : '';
    options.onProgress(
      `about ${formatBytes(plan.downloadBytes + plan.cudaDownloadBytes)} to download${what}; needs ${formatBytes(plan.diskBytes)} of disk at ${folder}, ${formatBytes(await freeBytes(folder))} free`,
    );
    await fillFolder(folder, (temporary) =>
      fetchWheel(plan, python, temporary, options.onProgress),
    );
  }
  const dir = join(folder, 'tensorflow');
  return { tensorflow: await describe(dir, machine.platform, plan.cuda), cached };
}

/** Fetches a plan's wheels and unpacks what is needed into `folder`, in the wheel's own layout. */
async function fetchWheel(
  plan: RuntimePlan,
  python: Python,
  folder: string,
  onProgress: (text: string) => void,
): Promise<string[]> {
  const downloads = join(folder, 'download');
  await mkdir(downloads);
  const target = { pythonVersion: WHEEL_PYTHON, platformTags: plan.platformTags };
  const requirement = `${plan.package}==${TENSORFLOW_VERSION}`;
  const onBytes = (bytes: number) =>
    onProgress(`downloading: ${downloadProgress(bytes, plan.downloadBytes)}`);
  const [wheel] = await downloadWheels({
    python,
    requirements: [requirement],
    target,
    folder: downloads,
    onBytes,
  });
  const files = plan.libraries.map((library) => `tensorflow/${library}`);
  const metadata = `${plan.package.replace('-', '_')}-${TENSORFLOW_VERSION}.dist-info/METADATA`;
  await unpackArchive({
    python,
    archive: wheel!,
    prefixes: [...files, 'tensorflow/include/', metadata],
    destination: folder,
    onProgress: (done, total) =>
      onProgress(`unpacking: ${formatBytes(done)} of ${formatBytes(total)}`),
  });
  await rm(wheel!);
  if (plan.cuda) {
    const requirements = cudaRequirements(await readFile(join(folder, metadata), 'utf8'));
    const wheels = await downloadWheels({
      python,
      requirements,
      target,
      folder: downloads,
      onBytes: (bytes) =>
        onProgress(`downloading CUDA: ${downloadProgress(bytes, plan.cudaDownloadBytes)}`),
    });
    for (const [index, archive] of wheels.entries()) {
      onProgress(`unpacking CUDA: ${index + 1} of ${wheels.length} wheels`);
      await unpackArchive({ python, archive, prefixes: ['nvidia/'], destination: folder });
      await rm(archive);
    }
  }
  await rm(downloads, { recursive: true });
  return files;
}

/** The requirements of a wheel's `and-cuda` extra, from its METADATA. */
export function cudaRequirements(metadata: string): string[] {
  const requirements: string[] = [];
  for (const line of metadata.split('\n')) {
    const match = /^Requires-Dist: ([^;]+);\s*extra == ['"]and-cuda['"]\s*$/.exec(line);
    if (match) requirements.push(match[1]!.replace(/\s+/g, ''));
  }
  return requirements;
}

async function describe(
  dir: string,
  platform: NodeJS.Platform,
  gpu: boolean | undefined,
): Promise<TensorFlow> {
  const libraries = tensorflowLibraries(platform).map((name) => join(dir, name));
  const header = join(dir, 'include', 'tensorflow', 'c', 'c_api.h');
  for (const path of [...libraries, header]) {
    if (existsSync(path)) continue;
    throw new SdaError(
      'setup',
      `The TensorFlow folder ${dir} lacks ${path}: expected the "tensorflow" folder of an installed wheel, with ${tensorflowLibraries(platform).join(', ')} and include; correct or unset SDA_TENSORFLOW_DIR.`,
    );
  }
  const sizes = await Promise.all(libraries.map(async (path) => (await stat(path)).size));
  return {
    dir,
    gpu,
    libraries,
    libraryDirs: [dir, ...(await cudaLibraryDirs(join(dir, '..', 'nvidia')))],
    fingerprint: [dir, ...sizes].join(':'),
  };
}

async function cudaLibraryDirs(nvidia: string): Promise<string[]> {
  if (!existsSync(nvidia)) return [];
  const parts = (await readdir(nvidia)).sort();
  return parts.map((part) => join(nvidia, part, 'lib')).filter((dir) => existsSync(dir));
}
