/**
 * Rows of a q or k projection from the order of Meta and of GGUF's llama, where the two rows that RoPE rotates together
 * are neighbours, into that of transformers, where they lie half a head apart.
 * @param bytes rows of equal length, [heads * headDim, n] in any stored form that keeps rows apart
 */
export function halvesFromPairs(bytes: Uint8Array, rows: number, heads: number): Uint8Array {
  const [width, headDim] = [bytes.length / rows, rows / heads];
  const into = new Uint8Array(bytes.length);
  for (let row = 0; row < rows; row++) {
    const inHead = row % headDim;
    const [half, pair] = [Math.floor((2 * inHead) / headDim), inHead % (headDim / 2)];
    const from = row - inHead + 2 * pair + half;
    into.set(bytes.subarray(from * width, (from + 1) * width), row * width);
  }
  return into;
}
