import { execFile } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** An NVIDIA GPU. What the driver does not say is null. */
export interface Gpu {
  readonly name: string;
  /** For example `9.0` */
  readonly computeCapability: string | null;
  /** Bytes */
  readonly memory: number | null;
  /** Bytes free now */
  readonly freeMemory: number | null;
}

/** The NVIDIA GPUs that this process can use, the one that TensorFlow takes first. */
export interface GpuFacts {
  readonly gpus: readonly Gpu[];
  /** Version of the driver */
  readonly driver: string | null;
  /** Newest CUDA version that the driver runs, for example `12.4` */
  readonly cuda: string | null;
  /** Why there is none, in a few words; empty where there is one */
  readonly reason: string;
}

export interface GpuOptions {
  readonly env?: NodeJS.ProcessEnv;
  /** Where the driver's files are looked for; default `/` */
  readonly root?: string;
}

const FIELDS = ['index', 'uuid', 'name', 'memory.total', 'memory.free', 'driver_version'] as const;

/**
 * Asks `nvidia-smi`, and where there is none the driver's own files. A GPU whose driver is not loaded, or that
 * `CUDA_VISIBLE_DEVICES` hides, does not count.
 */
export async function findGpus({
  env = process.env,
  root = '/',
}: GpuOptions = {}): Promise<GpuFacts> {
  const nothing = { gpus: [], driver: null, cuda: null };
  const visible = env.CUDA_VISIBLE_DEVICES;
  if (visible !== undefined && visibleIds(visible).length === 0) {
    return { ...nothing, reason: `hidden by CUDA_VISIBLE_DEVICES="${visible}"` };
  }
  const found = (await askDriver(env)) ?? readDriverFiles(env, root);
  if (!found || found.listed.length === 0) return { ...nothing, reason: 'no NVIDIA driver' };
  const gpus = choose(found.listed, visible).map(({ index, uuid, ...gpu }) => gpu);
  const { driver, cuda } = found;
  const reason = gpus.length > 0 ? '' : `CUDA_VISIBLE_DEVICES="${visible}" names none`;
  return { gpus, driver, cuda, reason };
}

/**
 * What to set before TensorFlow starts, where the user has not:
 * - memory is taken as it is needed, not all at once
 * - float32 products keep all bits of float32, which cuBLAS would cut to TF32
 * - GPUs have nvidia-smi's numbers, and TensorFlow sees one: tfjs puts tensors on the last, and operations run on
 *   the first
 */
export function gpuEnvironment(env: NodeJS.ProcessEnv): Record<string, string> {
  const visible = env.CUDA_VISIBLE_DEVICES;
  return {
    TF_FORCE_GPU_ALLOW_GROWTH: env.TF_FORCE_GPU_ALLOW_GROWTH ?? 'true',
    NVIDIA_TF32_OVERRIDE: env.NVIDIA_TF32_OVERRIDE ?? '0',
    CUDA_DEVICE_ORDER: env.CUDA_DEVICE_ORDER ?? 'PCI_BUS_ID',
    CUDA_VISIBLE_DEVICES: visible === undefined ? '0' : (visibleIds(visible)[0] ?? '-1'),
  };
}

interface Listed extends Gpu {
  readonly index: string;
  readonly uuid: string;
}

interface Driver {
  readonly listed: readonly Listed[];
  readonly driver: string | null;
  readonly cuda: string | null;
}

async function askDriver(env: NodeJS.ProcessEnv): Promise<Driver | undefined> {
  const query = async (fields: readonly string[]) =>
    await output(env, [`--query-gpu=${fields.join(',')}`, '--format=csv,noheader,nounits']);
  // drivers before 510 do not know compute_cap
  const table = (await query([...FIELDS, 'compute_cap'])) ?? (await query(FIELDS));
  const rows = table?.split('\n').map((line) => line.split(',').map((cell) => cell.trim()));
  const whole = rows?.filter((row) => row.length >= FIELDS.length);
  if (!whole || whole.length === 0) return undefined;
  const listed = whole.map(([index = '', uuid = '', name = '', total, free, , capability]) => ({
    index,
    uuid,
    name,
    computeCapability: /^\d+\.\d+$/.test(capability ?? '') ? capability! : null,
    memory: mebibytes(total),
    freeMemory: mebibytes(free),
  }));
  const summary = await output(env, []);
  return {
    listed,
    driver: whole[0]![5] ?? null,
    cuda: /CUDA (?:UMD )?Version\s*:\s*(\d+\.\d+)/.exec(summary ?? '')?.[1] ?? null,
  };
}

/** What nvidia-smi prints; undefined where it is absent, fails or hangs. */
function output(env: NodeJS.ProcessEnv, args: readonly string[]): Promise<string | undefined> {
  return new Promise((resolve) => {
    execFile('nvidia-smi', args, { env, timeout: 20_000 }, (error, stdout) =>
      resolve(error ? undefined : stdout),
    );
  });
}

function mebibytes(cell: string | undefined): number | null {
  return cell !== undefined && /^\d+$/.test(cell) ? Number(cell) * 2 ** 20 : null;
}

/** Folders of libcuda.so.1 besides those of LD_LIBRARY_PATH: distributions, containers, WSL. */
const LIBRARY_FOLDERS = [
  'usr/lib/x86_64-linux-gnu',
  'usr/lib/aarch64-linux-gnu',
  'usr/lib64',
  'usr/lib',
  'usr/local/nvidia/lib64',
  'usr/lib/wsl/lib',
  'run/opengl-driver/lib',
];

function readDriverFiles(env: NodeJS.ProcessEnv, root: string): Driver | undefined {
  const folders = [
    ...(env.LD_LIBRARY_PATH ?? '').split(':').filter((folder) => folder !== ''),
    ...LIBRARY_FOLDERS.map((folder) => join(root, folder)),
  ];
  if (!folders.some((folder) => existsSync(join(folder, 'libcuda.so.1')))) return undefined;
  const gpus = join(root, 'proc/driver/nvidia/gpus');
  try {
    const listed = readdirSync(gpus)
      .sort()
      .map((bus, index) => {
        const text = readFileSync(join(gpus, bus, 'information'), 'utf8');
        return {
          index: String(index),
          uuid: /^GPU UUID:\s*(\S+)/m.exec(text)?.[1] ?? '',
          name: /^Model:\s*(.+?)\s*$/m.exec(text)?.[1] ?? `NVIDIA GPU at ${bus}`,
          computeCapability: null,
          memory: null,
          freeMemory: null,
        };
      });
    const version = readFileSync(join(root, 'proc/driver/nvidia/version'), 'utf8');
    return { listed, driver: /\s(\d+\.\d+(?:\.\d+)?)\s/.exec(version)?.[1] ?? null, cuda: null };
  } catch {
    return undefined;
  }
}

/** The entries of CUDA_VISIBLE_DEVICES; as CUDA has it, the first that is none ends the list. */
function visibleIds(visible: string): string[] {
  const ids = visible.split(',').map((id) => id.trim());
  const end = ids.findIndex((id) => !/^(\d+|GPU-.+|MIG-.+)$/.test(id));
  return end === -1 ? ids : ids.slice(0, end);
}

/** The GPUs that CUDA_VISIBLE_DEVICES names, in its order. */
function choose(listed: readonly Listed[], visible: string | undefined): readonly Listed[] {
  if (visible === undefined) return listed;
  const chosen: Listed[] = [];
  for (const id of visibleIds(visible)) {
    const gpu = id.startsWith('MIG-')
      ? partOf(listed[0])
      : listed.find(
          ({ index, uuid }) => index === id || (id.startsWith('GPU-') && uuid.startsWith(id)),
        );
    if (!gpu) break;
    chosen.push(gpu);
  }
  return chosen;
}

/** A slice of a GPU, whose memory the query does not tell. */
function partOf(gpu: Listed | undefined): Listed | undefined {
  return gpu && { ...gpu, name: `part of ${gpu.name}`, memory: null, freeMemory: null };
}
