import { joined } from '../../fuzz/mutate.js';

/** Numbers of the piece types in sentencepiece_model.proto. */
export const TYPE = { normal: 1, unknown: 2, control: 3, userDefined: 4, unused: 5, byte: 6 };

export interface PieceFields {
  readonly text: string | Uint8Array;
  readonly score?: number;
  readonly type?: number;
}

/** A field of a Protocol Buffers message: a whole number, bytes, a text, or a message's fields. */
export type ProtoValue = number | Uint8Array | string;

function varint(value: number): number[] {
  const bytes: number[] = [];
  let rest = BigInt.asUintN(64, BigInt(value));
  while (rest > 0x7fn) {
    bytes.push(Number(rest & 0x7fn) | 0x80);
    rest >>= 7n;
  }
  return [...bytes, Number(rest)];
}

/** The bytes of a message with these fields. */
export function message(fields: readonly (readonly [number, ProtoValue])[]): Uint8Array {
  const parts = fields.flatMap(([number, value]) => {
    if (typeof value === 'number')
      return [Uint8Array.from([...varint(number * 8), ...varint(value)])];
    const bytes = typeof value === 'string' ? new TextEncoder().encode(value) : value;
    return [Uint8Array.from([...varint(number * 8 + 2), ...varint(bytes.length)]), bytes];
  });
  return joined(...parts);
}

function piece({ text, score = 0, type = TYPE.normal }: PieceFields): Uint8Array {
  const float = new Uint8Array(5);
  float[0] = 2 * 8 + 5;
  new DataView(float.buffer).setFloat32(1, score, true);
  return joined(message([[1, text]]), float, message([[3, type]]));
}

/** A `tokenizer.model`: its pieces, and further fields of its trainer (by default BPE) and normalizer. */
export function modelProto(
  pieces: readonly PieceFields[],
  trainer: readonly (readonly [number, ProtoValue])[] = [[3, 2]],
  normalizer: readonly (readonly [number, ProtoValue])[] = [[4, 0]],
): Uint8Array {
  return message([
    ...pieces.map((one) => [1, piece(one)] as const),
    [2, message(trainer)],
    [3, message(normalizer)],
  ]);
}
