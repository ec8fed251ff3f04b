import { SdaError } from '../errors.js';
import type { Checkpoint, TensorInfo } from './checkpoint.js';

/** What a checkpoint that is made from another one has of its own. */
export interface Derivation {
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  /** Beside those of the other checkpoint */
  readonly warnings?: readonly string[];
  /** The bytes of a tensor, in `into` where it is given. */
  read(name: string, into?: Uint8Array): Promise<Uint8Array>;
}

/** A checkpoint over another one, with which it is closed: other names, dtypes or values, made as they are read. */
export function derivedCheckpoint(base: Checkpoint, derivation: Derivation): Checkpoint {
  const { tensors, warnings = [] } = derivation;
  let totalBytes = 0;
  for (const { byteLength } of tensors.values()) totalBytes += byteLength;
  return {
    dir: base.dir,
    tensors,
    totalBytes,
    warnings: [...base.warnings, ...warnings],
    read: (name, into) => {
      if (!tensors.has(name)) {
        throw new SdaError(
          'bad-tensor',
          `${base.dir} has no tensor ${JSON.stringify(name)} among its ${tensors.size}; check that the weights fit config.json.`,
        );
      }
      return derivation.read(name, into);
    },
    close: () => base.close(),
  };
}

/** The bytes, in `into` where it is given. */
export function placed(bytes: Uint8Array, into: Uint8Array | undefined): Uint8Array {
  into?.set(bytes);
  return into ?? bytes;
}
