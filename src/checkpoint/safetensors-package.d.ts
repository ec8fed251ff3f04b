/** The part of the npm package `safetensors` 0.0.1 that is used here; it ships no types. */
declare module 'safetensors' {
  interface SafeTensorEntry {
    dtype: unknown;
    shape: unknown;
    /** Begin and end, absolute in the file: the 8 + N header bytes are added. */
    data_offsets: number[];
  }
  class SafeTensor {
    constructor(bytes: Uint8Array);
    metadata: Map<string, SafeTensorEntry>;
  }
  const safetensors: { SafeTensor: typeof SafeTensor };
  export default safetensors;
}
