import { SdaError } from '../errors.js';

/** Most bytes of a grapheme that is looked up as a whole. Source: the Rust library, as SentencePiece's table is made. */
const LONGEST = 5;

/**
 * SentencePiece's table of replacements ("Precompiled"), applied as the Rust library does: to a grapheme as a whole
 * where it is short and the table has it, or has its beginning, else to each of its characters.
 *
 * @param charsmap base64 of: bytes of the trie (uint32), the trie (Darts, uint32 each), texts that end with a zero
 * @throws SdaError `bad-tokenizer` where it is none
 */
export function precompiledNormalizer(charsmap: unknown, file: string): (text: string) => string {
  const bytes = typeof charsmap === 'string' ? Buffer.from(charsmap, 'base64') : Buffer.alloc(0);
  const trieBytes = bytes.length < 4 ? 0 : bytes.readUInt32LE(0);
  if (trieBytes === 0 || trieBytes % 4 !== 0 || trieBytes > bytes.length - 4) {
    throw new SdaError(
      'bad-tokenizer',
      `${file} has a malformed Precompiled (precompiled_charsmap is no table of SentencePiece); download it again.`,
    );
  }
  const trie = Uint32Array.from({ length: trieBytes / 4 }, (_, i) => bytes.readUInt32LE(4 + 4 * i));
  const texts = bytes.subarray(4 + trieBytes);
  const replacement = (part: string): string | null => {
    const at = shortestPrefix(trie, utf8.encode(part));
    if (at === null || at >= texts.length) return null;
    const end = texts.indexOf(0, at);
    return texts.toString('utf8', at, end < 0 ? texts.length : end);
  };
  return (text) => {
    let out = '';
    for (const { segment } of graphemes.segment(text)) {
      const whole = Buffer.byteLength(segment) <= LONGEST ? replacement(segment) : null;
      if (whole !== null) out += whole;
      else for (const character of segment) out += replacement(character) ?? character;
    }
    return out;
  };
}

const utf8 = new TextEncoder();
// UAX #29 has no locale of its own
const graphemes = new Intl.Segmenter('und', { granularity: 'grapheme' });

/** The value of the shortest beginning of a key that a double array holds; null where it holds none. */
function shortestPrefix(trie: Uint32Array, key: Uint8Array): number | null {
  let unit = trie[0]!;
  let node = offsetOf(unit);
  for (const byte of key) {
    if (byte === 0) return null;
    node ^= byte;
    unit = trie[node] ?? 0;
    // the label of a unit that is a value has its highest bit set
    if ((unit & 0x800000ff) !== byte) return null;
    node ^= offsetOf(unit);
    if ((unit >>> 8) & 1) return (trie[node] ?? 0) & 0x7fffffff;
  }
  return null;
}

function offsetOf(unit: number): number {
  return (unit >>> 10) << ((unit & (1 << 9)) >>> 6);
}
