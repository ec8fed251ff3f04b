import { weightMemory } from '../runtime/native.js';

/** Largest piece of memory that weights share. */
const ARENA_BYTES = 256 * 2 ** 20;
const ALIGNMENT = 64;

/**
 * Hands out memory for weights from a few large pieces, which can lie on huge pages as small ones cannot. A piece
 * is freed with the last tensor in it.
 */
export class WeightArena {
  private left: number;
  private piece: Uint8Array = new Uint8Array(0);

  /** @param expected bytes that will be asked for in all */
  constructor(expected: number) {
    this.left = expected;
  }

  /** `bytes` bytes at a multiple of 64, which are handed out once. */
  take(bytes: number): Uint8Array {
    const reserved = Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;
    if (reserved > this.piece.byteLength) {
      this.piece = weightMemory(Math.max(reserved, Math.min(this.left, ARENA_BYTES)));
    }
    const taken = this.piece.subarray(0, bytes);
    this.piece = this.piece.subarray(reserved);
    this.left = Math.max(0, this.left - reserved);
    return taken;
  }
}
