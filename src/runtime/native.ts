import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { messageOf, SdaError } from '../errors.js';
import { packageRoot } from './paths.js';

/** Which form of the kernels serves, and why. */
export interface KernelStatus {
  readonly kernels: 'native' | 'reference';
  /** Why the reference serves; empty for `native`. */
  readonly reason: string;
  /** Operations the addon registered. */
  readonly operations: readonly string[];
}

interface Addon {
  /** Names of the TensorFlow operations that the addon registered when it was loaded. */
  readonly operations: readonly string[];
  /** Asks for huge pages; returns the offset of the first multiple of 64 in the buffer. */
  prepareMemory(buffer: ArrayBuffer): number;
}

let loaded: ReadonlySet<string> = new Set();
let addon: Addon | undefined;

/** Where set-up puts the native kernels. */
export function nativeAddonPath(): string {
  return join(packageRoot(), 'build', 'sda_kernels.node');
}

/** True when the native form of a kernel is loaded. */
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
 * where they are built, `reference` leaves them out, `native` insists.
 *
 * @throws SdaError `usage` for another value; `setup` when `native` cannot be met.
 */
export function loadNativeKernels(): KernelStatus {
  const wanted = process.env.SDA_KERNELS || 'auto';
  if (!['auto', 'native', 'reference'].includes(wanted)) {
    throw new SdaError('usage', `SDA_KERNELS must be auto, native or reference, not "${wanted}".`);
  }
  if (wanted === 'reference') return reference('SDA_KERNELS=reference');
  const path = nativeAddonPath();
  if (!existsSync(path))
    return missing(wanted, 'the native kernels are not built: run "npm run setup"');
  try {
    addon = createRequire(import.meta.url)(path) as Addon;
    loaded = new Set(addon.operations);
    return { kernels: 'native', reason: '', operations: [...addon.operations] };
  } catch (error) {
    const cause = messageOf(error).split('\n', 1)[0];
    return missing(wanted, `${path} does not load (${cause}): run "npm run setup"`);
  }
}

function missing(wanted: string, reason: string): KernelStatus {
  if (wanted === 'native') throw new SdaError('setup', `SDA_KERNELS=native, but ${reason}.`);
  return reference(reason);
}

function reference(reason: string): KernelStatus {
  return { kernels: 'reference', reason, operations: [] };
}
