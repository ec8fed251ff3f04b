import { existsSync } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { messageOf } from '../errors.js';
import { unpackArchive } from './archive.js';
import { fillFolder, readComplete } from './cache.js';
import { requireDisk } from './disk.js';
import { downloadProgress, downloadWheels } from './pip.js';
import { WHEEL_PYTHON } from './plan.js';
import { runProcess } from './process.js';
import { findPython } from './tools.js';

/** A CUDA compiler with its runtime library. */
export interface CudaToolkit {
  readonly nvcc: string;
  /** Release of the compiler, for example `12.9` */
  readonly release: string;
  readonly include: string;
  /** Holds libcudart_static.a */
  readonly library: string;
  /** Architectures that the compiler knows, as `80` */
  readonly architectures: readonly string[];
}

export interface CudaOptions {
  readonly env: NodeJS.ProcessEnv;
  readonly cacheDir: string;
  /** Newest CUDA version that the driver runs; null where it is not known. */
  readonly driverCuda: string | null;
  readonly platformTags: readonly string[];
  /** Where a toolkit is looked for last; default /usr/local/cuda */
  readonly system?: string;
  readonly onProgress: (text: string) => void;
}

/** The compiler as PyPI packages, of one release: parts of different releases do not work together. */
const PACKAGES = [
  'nvidia-cuda-nvcc==13.0.88',
  'nvidia-nvvm==13.0.88',
  'nvidia-cuda-crt==13.0.88',
  'nvidia-cuda-runtime==13.0.96',
  'nvidia-cuda-cccl==13.0.85',
];
const PACKAGES_RELEASE = '13.0';
const DOWNLOAD_BYTES = 105e6;
const DISK_BYTES = 0.5e9;

/** Oldest release that knows the architectures of all kernels. */
const OLDEST_RELEASE = 11.8;

/** Architectures that the kernels are compiled for, where the compiler knows them; later ones take the PTX. */
const ARCHITECTURES = ['75', '80', '86', '89', '90'];
const PTX = '90';

/**
 * The CUDA compiler: nvcc from PATH, `CUDA_HOME` or /usr/local/cuda, else PyPI's, fetched into the cache. A program
 * needs a driver of its compiler's CUDA version, so one that is newer than the driver is passed over.
 *
 * @returns the toolkit, or a sentence that says why there is none and what to do.
 */
export async function ensureToolkit(options: CudaOptions): Promise<CudaToolkit | string> {
  const { env, driverCuda } = options;
  const passed: string[] = [];
  for (const nvcc of candidates(env, options.system ?? '/usr/local/cuda')) {
    const toolkit = await describeToolkit(nvcc, env);
    if (typeof toolkit === 'string') passed.push(toolkit);
    else if (Number(toolkit.release) < OLDEST_RELEASE) {
      passed.push(`${nvcc} is CUDA ${toolkit.release}, and ${OLDEST_RELEASE} or newer is needed`);
    } else if (newerThan(toolkit.release, driverCuda)) {
      passed.push(`${nvcc} is CUDA ${toolkit.release}, and the driver runs CUDA ${driverCuda}`);
    } else return toolkit;
  }
  if (newerThan(PACKAGES_RELEASE, driverCuda)) {
    passed.push(
      `the nvcc on PyPI needs a driver for CUDA ${PACKAGES_RELEASE}, and this one runs CUDA ${driverCuda}`,
    );
  } else {
    try {
      return await fetchToolkit(options);
    } catch (error) {
      passed.push(messageOf(error).replace(/\.$/, ''));
    }
  }
  return `There is no CUDA compiler for the kernels (${passed.join('; ')}): TensorFlow's own operations serve on the GPU; install the CUDA 12 toolkit (nvcc) and set CUDA_HOME to its folder, then run "npx sda setup" again.`;
}

/** Flags of nvcc for the kernels. */
export function nvccFlags(toolkit: CudaToolkit): string[] {
  const known = (arch: string) => toolkit.architectures.includes(arch);
  return [
    '-std=c++17',
    '-O3',
    '-DNDEBUG',
    '-DSDA_CUDA',
    '-Xcompiler=-fPIC',
    '--threads=0',
    ...ARCHITECTURES.filter(known).map((arch) => `-gencode=arch=compute_${arch},code=sm_${arch}`),
    `-gencode=arch=compute_${PTX},code=compute_${PTX}`,
  ];
}

/** What links CUDA's runtime into an addon; it finds the driver when it is first used. */
export function cudaLinkFlags(toolkit: CudaToolkit): string[] {
  return [`-L${toolkit.library}`, '-lcudart_static', '-ldl', '-lrt', '-lpthread'];
}

function candidates(env: NodeJS.ProcessEnv, system: string): string[] {
  const folders = [
    ...(env.PATH ?? '').split(':').filter((folder) => folder !== ''),
    ...(env.CUDA_HOME ? [join(env.CUDA_HOME, 'bin')] : []),
    join(system, 'bin'),
  ];
  const files = folders.map((folder) => join(folder, 'nvcc')).filter((file) => existsSync(file));
  return [...new Set(files)];
}

/** An nvcc's release and folders, or what it lacks. */
export async function describeToolkit(
  nvcc: string,
  env: NodeJS.ProcessEnv,
): Promise<CudaToolkit | string> {
  const version = await runProcess(nvcc, ['--version'], { env });
  const release = /release (\d+\.\d+)/.exec(version?.stdout ?? '')?.[1];
  const listed = await runProcess(nvcc, ['--list-gpu-code'], { env });
  if (!release || listed?.code !== 0) return `${nvcc} does not run`;
  // the folder above bin/, as nvcc itself says: it may be a link or a script
  const dryRun = await runProcess(nvcc, ['--dryrun', '-E', '-x', 'cu', '/dev/null'], { env });
  const top =
    /^#\$ TOP=(.+)$/m.exec(dryRun?.stderr ?? '')?.[1]?.trim() ?? join(dirname(nvcc), '..');
  const include = ['include', 'targets/x86_64-linux/include']
    .map((folder) => join(top, folder))
    .find((folder) => existsSync(join(folder, 'cuda_runtime.h')));
  const library = ['lib64', 'lib', 'targets/x86_64-linux/lib', '../x86_64-linux-gnu']
    .map((folder) => join(top, folder))
    .find((folder) => existsSync(join(folder, 'libcudart_static.a')));
  if (!include || !library) return `${nvcc} has no cuda_runtime.h or libcudart_static.a in ${top}`;
  const architectures = [...listed.stdout.matchAll(/^sm_(\d+)$/gm)].map(([, arch]) => arch!);
  return { nvcc, release, include, library, architectures };
}

async function fetchToolkit(options: CudaOptions): Promise<CudaToolkit> {
  const { cacheDir, env, platformTags, onProgress } = options;
  const folder = join(cacheDir, 'cuda', `nvcc-${PACKAGES_RELEASE}`);
  const key = PACKAGES.join(' ');
  if (!(await readComplete(folder, key))) {
    await requireDisk(folder, DISK_BYTES, 'The CUDA compiler');
    const python = await findPython(env);
    await fillFolder(
      folder,
      async (temporary) => {
        const downloads = join(temporary, 'download');
        await mkdir(downloads);
        const wheels = await downloadWheels({
          python,
          requirements: PACKAGES,
          target: { pythonVersion: WHEEL_PYTHON, platformTags },
          folder: downloads,
          onBytes: (bytes) =>
            onProgress(`downloading nvcc: ${downloadProgress(bytes, DOWNLOAD_BYTES)}`),
        });
        for (const archive of wheels) {
          await unpackArchive({ python, archive, prefixes: ['nvidia/'], destination: temporary });
        }
        await rm(downloads, { recursive: true });
        return ['nvidia/cu13/bin/nvcc', 'nvidia/cu13/lib/libcudart_static.a'];
      },
      { key },
    );
  }
  const toolkit = await describeToolkit(join(folder, 'nvidia', 'cu13', 'bin', 'nvcc'), env);
  if (typeof toolkit === 'string') throw new Error(toolkit);
  return toolkit;
}

/** Whether a CUDA release needs a newer driver: drivers run programs of their own major version and older ones. */
function newerThan(release: string, driverCuda: string | null): boolean {
  if (driverCuda === null) return false;
  return Math.floor(Number(release)) > Math.floor(Number(driverCuda));
}
