import { listSome } from '../../checkpoint/json-file.js';
import { SdaError } from '../../errors.js';
import { type ModuleNames, transformersModule } from '../module-names.js';
import { BLOCK_TYPES, type BlockType, OTHER_TYPES } from './blocks.js';
import type { GgufHeader, GgufTensor } from './header.js';

/** Tensors that divide the frequencies of rotary embeddings, which are settings in transformers. */
export const ROPE_FACTORS = {
  llama3: 'rope_freqs.weight',
  short: 'rope_factors_short.weight',
  long: 'rope_factors_long.weight',
} as const;

/** transformers' name of a tensor, null where it has no place in a decoder with these modules. */
export function transformersName(name: string, modules: ModuleNames): string | null {
  const [, layer, module, kind] = /^(?:blk\.(\d+)\.)?(\w+)\.(weight|bias)$/.exec(name) ?? [];
  const known = module === undefined ? null : transformersModule(modules, layer, module);
  return known && `${known}.${kind}`;
}

/** A tensor of a GGUF file, checked to lie inside it. */
export interface StoredTensor {
  readonly shape: readonly number[];
  readonly type: BlockType;
  readonly file: string;
  /** Of the first byte, absolute in the file */
  readonly offset: number;
  /** As stored */
  readonly byteLength: number;
}

/**
 * Holds the tensors of a header against the file.
 * @returns by llama.cpp's names
 * @throws SdaError `bad-file`; `unsupported` with the names of types that are not read
 */
export function storedTensors(
  { tensors, dataStart }: GgufHeader,
  file: string,
  fileSize: number,
): ReadonlyMap<string, StoredTensor> {
  refuseTypes(tensors, file);
  const stored = new Map<string, StoredTensor>();
  for (const { name, shape, type: number, offset: start } of tensors) {
    const type = BLOCK_TYPES.get(number)!;
    const label = `the tensor ${JSON.stringify(name)}`;
    const elements = shape.reduce((product, size) => product * size, 1);
    const row = shape.at(-1) ?? 1;
    const byteLength = (elements / type.elements) * type.bytes;
    if (row % type.elements !== 0 || !Number.isSafeInteger(byteLength)) {
      throw badFile(
        file,
        `gives ${label} the shape [${shape.join(', ')}], whose rows are no whole blocks of ${type.name}`,
      );
    }
    const offset = dataStart + start;
    if (byteLength > fileSize - offset) {
      throw badFile(
        file,
        `ends before ${label} does: ${byteLength} bytes from byte ${offset} on, in a file of ${fileSize}`,
      );
    }
    if (stored.has(name)) throw badFile(file, `holds ${label} twice`);
    stored.set(name, { shape, type, file, offset, byteLength });
  }
  return stored;
}

function refuseTypes(tensors: readonly GgufTensor[], file: string): void {
  const other = tensors.filter(({ type }) => !BLOCK_TYPES.has(type));
  if (other.length === 0) return;
  const names = [...new Set(other.map(({ type }) => OTHER_TYPES[type] ?? `number ${type}`))];
  const read = [...BLOCK_TYPES.values()].map(({ name }) => name).join(', ');
  throw new SdaError(
    'unsupported',
    `${file} holds ${other.length} tensors of the types ${listSome(names)} where ${read} are read; take another quantisation of the model.`,
  );
}

function badFile(file: string, what: string): SdaError {
  return new SdaError(
    'bad-file',
    `${file} ${what}; it is truncated or damaged, download it again.`,
  );
}
