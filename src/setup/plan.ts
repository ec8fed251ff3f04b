import { SdaError } from '../errors.js';

/** The TensorFlow release that everything is built and tested against. */
export const TENSORFLOW_VERSION = '2.21.0';

/** CPython whose wheel is taken; the library inside does not depend on it. */
export const WHEEL_PYTHON = '311';

/** What the choice of a wheel depends on. */
export interface Machine {
  readonly platform: NodeJS.Platform;
  readonly arch: string;
  /** C library of Linux. */
  readonly libc: 'glibc' | 'musl' | 'none';
  /** An NVIDIA GPU is visible. */
  readonly gpu: boolean;
}

/** `auto` takes the GPU where one is visible. */
export type DeviceChoice = 'auto' | 'cpu' | 'gpu';

/** Which wheel to fetch and what to take out of it. */
export interface RuntimePlan {
  /** Name of the folder in the cache. */
  readonly id: string;
  readonly package: 'tensorflow' | 'tensorflow-cpu';
  /** Wheel platform tags, most specific first. */
  readonly platformTags: readonly string[];
  /** TensorFlow's two shared libraries, as named in the wheel. */
  readonly libraries: readonly [cc: string, framework: string];
  /** The CUDA libraries of the wheel's `and-cuda` extra are fetched too. */
  readonly cuda: boolean;
  /** About how many bytes the wheel has. */
  readonly downloadBytes: number;
  /** About how many bytes the wheels of the CUDA libraries have. */
  readonly cudaDownloadBytes: number;
  /** Free disk needed while it is fetched and unpacked. */
  readonly diskBytes: number;
}

/** Wheel platform tags of Linux on x64 with glibc 2.27, most specific first; the CUDA wheels carry many of them. */
export const LINUX_X64_TAGS = [
  ...Array.from({ length: 23 }, (_, i) => `manylinux_2_${27 - i}_x86_64`),
  'manylinux2014_x86_64',
  'manylinux2010_x86_64',
  'manylinux1_x86_64',
];

const LINUX_LIBRARIES = ['libtensorflow_cc.so.2', 'libtensorflow_framework.so.2'] as const;
const MAC_LIBRARIES = ['libtensorflow_cc.2.dylib', 'libtensorflow_framework.2.dylib'] as const;

/** Names of the two libraries on a platform. */
export function tensorflowLibraries(platform: NodeJS.Platform): readonly [string, string] {
  return platform === 'darwin' ? MAC_LIBRARIES : LINUX_LIBRARIES;
}

/**
 * Chooses the TensorFlow wheel for a machine.
 *
 * @throws SdaError `unsupported` when no wheel exists for it.
 */
export function planRuntime(machine: Machine, choice: DeviceChoice): RuntimePlan {
  const { platform, arch } = machine;
  const where = `${platform} ${arch}`;
  if (platform === 'linux' && machine.libc === 'musl') {
    throw unsupported('Linux with musl (Alpine)', 'use a distribution with glibc 2.27 or newer');
  }
  if (platform === 'linux' && arch === 'x64') {
    const cuda = choice === 'gpu' || (choice === 'auto' && machine.gpu);
    return {
      id: `${TENSORFLOW_VERSION}-${cuda ? 'gpu' : 'cpu'}-linux-x64`,
      package: cuda ? 'tensorflow' : 'tensorflow-cpu',
      platformTags: LINUX_X64_TAGS,
      libraries: LINUX_LIBRARIES,
      cuda,
      downloadBytes: cuda ? 572e6 : 274e6,
      cudaDownloadBytes: cuda ? CUDA_DOWNLOAD_BYTES : 0,
      diskBytes: cuda ? 8.5e9 : 1.5e9,
    };
  }
  if (choice === 'gpu') {
    // the wheels of Linux on arm64 are built without CUDA
    throw unsupported(`${where} on a GPU`, 'use Linux x64 for the GPU, or --cpu here');
  }
  if (platform === 'linux' && arch === 'arm64') {
    return {
      id: `${TENSORFLOW_VERSION}-cpu-linux-arm64`,
      package: 'tensorflow',
      platformTags: ['manylinux_2_27_aarch64', 'manylinux_2_17_aarch64', 'manylinux2014_aarch64'],
      libraries: LINUX_LIBRARIES,
      cuda: false,
      downloadBytes: 282e6,
      cudaDownloadBytes: 0,
      diskBytes: 1.6e9,
    };
  }
  if (platform === 'darwin' && arch === 'arm64') {
    return {
      id: `${TENSORFLOW_VERSION}-cpu-darwin-arm64`,
      package: 'tensorflow',
      platformTags: ['macosx_12_0_arm64'],
      libraries: MAC_LIBRARIES,
      cuda: false,
      downloadBytes: 282e6,
      cudaDownloadBytes: 0,
      diskBytes: 1.6e9,
    };
  }
  throw unsupported(where, 'use Linux x64, Linux arm64 or macOS arm64');
}

const CUDA_DOWNLOAD_BYTES = 2.8e9;

function unsupported(what: string, instead: string): SdaError {
  return new SdaError(
    'unsupported',
    `There is no TensorFlow ${TENSORFLOW_VERSION} wheel for ${what}: ${instead}, or point SDA_TENSORFLOW_DIR to a TensorFlow folder of your own.`,
  );
}
