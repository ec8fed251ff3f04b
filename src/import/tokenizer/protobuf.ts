/** One field of a Protocol Buffers message: a whole number, or the bytes of anything else. */
export interface Field {
  readonly number: number;
  readonly value: number | Uint8Array;
}

/** Thrown by {@link fieldsOf}. */
export class MalformedMessage extends Error {}

/** Most bytes of a varint: 64 bits, seven a byte. */
const MAX_VARINT = 10;

/**
 * The fields of a message in the order of the file; what a field holds is a view of `bytes`.
 * @throws MalformedMessage where the bytes end inside a field, or are no field
 */
export function* fieldsOf(bytes: Uint8Array): Generator<Field> {
  let at = 0;
  const varint = (): number => {
    let value = 0n;
    for (let i = 0; i < MAX_VARINT; i++) {
      const byte = bytes[at++];
      if (byte === undefined) throw new MalformedMessage('it ends inside a number');
      value |= BigInt(byte & 0x7f) << BigInt(7 * i);
      if (byte < 0x80) return Number(BigInt.asIntN(64, value));
    }
    throw new MalformedMessage(`a number at byte ${at} has more than ${MAX_VARINT} bytes`);
  };
  const take = (length: number): Uint8Array => {
    if (length < 0 || length > bytes.length - at) {
      throw new MalformedMessage(
        `a field at byte ${at} has ${length} bytes where ${bytes.length - at} are left`,
      );
    }
    at += length;
    return bytes.subarray(at - length, at);
  };
  const readValue = (wireType: number): number | Uint8Array => {
    switch (wireType) {
      case 0:
        return varint();
      case 1:
        return take(8);
      case 2:
        return take(varint());
      case 5:
        return take(4);
      default:
        throw new MalformedMessage(`a field at byte ${at} has the wire type ${wireType}`);
    }
  };
  while (at < bytes.length) {
    const tag = varint();
    const number = Math.floor(tag / 8);
    if (number < 1) throw new MalformedMessage(`a field at byte ${at} has the number ${number}`);
    yield { number, value: readValue(tag % 8) };
  }
}
