import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { messageOf, SdaError } from '../errors.js';
import { packageRoot } from './paths.js';

/** Which form of the kernels serves, and why. */
export interface KernelStatus {
  readonly kernels: 'native' | 'reference';
  /** Why the reference serves, for all kernels or for some; empty where it does not. */
  readonly reason: string;
  /** Operations whose native form serves. */
  readonly operations: readonly string[];
}

interface Addon {
  /** Names of the TensorFlow operations that the addon registered when it was loaded. */
  readonly operations: readonly string[];
  /** Forms of products with quantised weights that this processor has, the fastest first. */
  readonly quantisedForms: readonly string[];
  /** Those that have a form for the GPU; absent in an addon without any. */
  readonly gpuOperations?: readonly string[];
  /** Why the GPU forms do not run on this device; empty where they do. */
  gpuProblem?(): string;
  /** Asks for huge pages; returns the offset of the first multiple of 64 in the buffer. */
  prepareMemory(buffer: ArrayBuffer): number;
}

let loaded: ReadonlySet<string> = new Set();
let addon: Addon | undefined;

/** Where set-up puts the native kernels. */
export function nativeAddonPath(): string {
  return join(packageRoot(), 'build', 'sda_kernels.node');
}

/** The forms of products with quantised weights that this processor has, as `SDA_ISA` names them, the fastest first. */
export function quantisedForms(): readonly string[] {
  return addon?.quantisedForms ?? [];
}

/** True when the native form of a kernel is loaded and runs on the device. */
export function hasNativeKernel(name: string): boolean {
  return loaded.has(name);
}

/**
 * Memory for weights that TensorFlow can use in place: zeros, on huge pages where the native kernels are loaded
 * and the system has them.
 *
 * @returns `bytes` bytes that start at a multiple of 64 (with the native kernels; else anywhere)
 */
export function weightMemory(bytes: number): Uint8Array {
  const buffer = new ArrayBuffer(bytes + 64);
  return new Uint8Array(buffer, addon?.prepareMemory(buffer) ?? 0, bytes);
}

/**
 * Loads the native kernels into the running TensorFlow, as `SDA_KERNELS` asks: `auto` (default) takes them
 * where they are built, `reference` leaves them out, `native` insists. On a GPU those serve that have a form for it.
 *
 * @throws SdaError `usage` for another value, and for an `SDA_ISA` (the form of products with quantised weights, default:
 *   the fastest) that this processor has not; `setup` when `native` cannot be met.
 */
export function loadNativeKernels(device: 'cpu' | 'gpu', path = nativeAddonPath()): KernelStatus {
  const wanted = process.env.SDA_KERNELS || 'auto';
  if (!['auto', 'native', 'reference'].includes(wanted)) {
    throw new SdaError('usage', `SDA_KERNELS must be auto, native or reference, not "${wanted}".`);
  }
  loaded = new Set();
  if (wanted === 'reference') return reference('SDA_KERNELS=reference');
  if (!existsSync(path))
    return missing(wanted, 'the native kernels are not built: run "npm run setup"');
  try {
    addon = createRequire(import.meta.url)(path) as Addon;
  } catch (error) {
    const cause = messageOf(error).split('\n', 1)[0];
    return missing(wanted, `${path} does not load (${cause}): run "npm run setup"`);
  }
  checkIsa(addon.quantisedForms);
  const { operations, problem } = serving(addon, device);
  if (operations.length === 0 || (problem !== '' && wanted === 'native')) {
    return missing(wanted, problem);
  }
  loaded = new Set(operations);
  return { kernels: 'native', reason: problem, operations: [...operations] };
}

/** The operations of an addon that run on a device, and why others do not. */
export function serving(
  {
    operations,
    gpuOperations = [],
    gpuProblem,
  }: Pick<Addon, 'operations' | 'gpuOperations' | 'gpuProblem'>,
  device: 'cpu' | 'gpu',
): { readonly operations: readonly string[]; readonly problem: string } {
  if (device === 'cpu') return { operations, problem: '' };
  if (gpuOperations.length === 0) {
    const problem = 'the native kernels are built for the CPU alone: run "npx sda doctor"';
    return { operations: [], problem };
  }
  const cannot = gpuProblem?.() ?? '';
  if (cannot !== '') {
    const problem = `the native kernels do not run on this GPU (${cannot}): run "npx sda doctor"`;
    return { operations: [], problem };
  }
  const without = operations.filter((name) => !gpuOperations.includes(name));
  const problem = without.length > 0 ? `there is no form for the GPU of ${without.join(', ')}` : '';
  return { operations: gpuOperations, problem };
}

function checkIsa(forms: readonly string[]): void {
  const wanted = process.env.SDA_ISA;
  if (!wanted || forms.includes(wanted)) return;
  throw new SdaError(
    'usage',
    `SDA_ISA must be one of ${forms.join(', ')} on this processor, not "${wanted}": correct or unset it.`,
  );
}

function missing(wanted: string, reason: string): KernelStatus {
  if (wanted === 'native') throw new SdaError('setup', `SDA_KERNELS=native, but ${reason}.`);
  return reference(reason);
}

function reference(reason: string): KernelStatus {
  return { kernels: 'reference', reason, operations: [] };
}
